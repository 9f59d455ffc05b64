"""What is fuzzed: each decoder with inputs that it takes, and the errors by which it refuses others.

A target's `decode` raises nothing for bytes that the decoder refuses as declared; whatever else it raises is a defect.
What stands behind a check value is fuzzed behind it: packets are sealed with the right key, and a learner's state gets
the CRC that fits, for without them no mutation gets in. Limits are small, so that the work that a file may ask for fits
the time that an input may take.
"""

from __future__ import annotations

import contextlib
import pickle  # noqa: TID251 (what writes the published files)
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.regions import split, voronoi
from flight import bundle
from flight.config import LinkConfig
from flight.encoder import EncoderError, flatbuffer, protobuf
from flight.ingest import Chip, Gap, IngestError, RecorderRequest, unpack_from_camera
from flight.learn import Moments
from flight.learn.state import StateError as ModelError
from flight.link import labelset, municipal, parcel, product, region_codec, sequence
from flight.link.cfdp import codec as cfdp
from flight.link.cfdp.pdu import Eof, FileData, Finished, Metadata, Nak, Transaction
from flight.link.dictionary import TABLES, Telecommand, Telemetry, decode, encode
from flight.link.endpoint import Endpoint
from flight.link.errors import LinkError, RejectedError, StateError
from flight.link.frame import Channel, Direction
from flight.link.keys import KeyFileError, KeyRing
from flight.link.labelset import LabelSet
from flight.link.layout import map_order
from flight.link.municipal import MunicipalProduct
from flight.link.pack import CodecError
from flight.link.packet import Apid, FileKind, Packer
from flight.link.product import Product
from flight.link.region import Region
from flight.link.region_patch import PatchDecoder, pack_patch
from flight.link.security import SecureChannel
from flight.link.telecommanding import Role
from flight.link.transfer import File
from ground.capture import Capture, Captured, CaptureError, CaptureWriter
from ground.describe import Describer
from ground.encoders import released
from ground.importer import pickles

CONFIG = LinkConfig(max_region_chips=4096, max_municipalities=256, max_label_cells=4096)
KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
A_MANIFEST = bundle.Manifest("0.1.0", "numba", "host", "x86_64", ("avx2", "fma"), "0123456789abcdef")


@dataclass(frozen=True)
class Target:
    """A decoder, what it says of bad input, inputs to begin from, and what it is of."""

    about: str
    of: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = (CodecError,)

    def decode(self, data: bytes) -> None:
        """Decode `data`; nothing happens if it is refused as declared."""
        with contextlib.suppress(*self.refusals):
            self.of(data)


@cache
def a_region() -> Region:
    """A small region, as the satellite has it."""
    return voronoi(16, 16, 7, seed=3, sea=0.2).quantised()


@cache
def a_label_set(version: int = 1, n_classes: int = 4) -> LabelSet:
    """A table for that region; later versions change one row."""
    rng = np.random.Generator(np.random.PCG64(n_classes))
    table = rng.dirichlet(np.full(n_classes, 0.4), len(a_region().codes)).astype(np.float32)
    table[1] = np.nan
    table[version % len(table)] = 1 / n_classes
    region_id = a_region().region_id
    return LabelSet(region_id, 2, version, tuple(f"class {i}" for i in range(n_classes)), table, 32).quantised()


def _labels(data: bytes) -> object:
    base = labelset.read_header(data, CONFIG).base
    return labelset.unpack(data, CONFIG, map_order(a_region()), a_label_set() if base else None)


def _patched(data: bytes) -> Region:
    decoder = PatchDecoder(data, a_region(), CONFIG)
    while decoder.advance(1 << 20):
        pass
    return decoder.region


def _label_seeds() -> list[bytes]:
    order, first = map_order(a_region()), a_label_set()
    merged = LabelSet(first.region_id, 2, 3, ("class 0", "rest"), a_label_set(3, 2).proportions, 32)
    return [
        labelset.pack(first),
        labelset.pack(first, order),
        labelset.pack(a_label_set(2), order, first),
        labelset.pack(merged, order),
    ]


def _products() -> list[bytes]:
    table = np.random.Generator(np.random.PCG64(1)).dirichlet(np.ones(3), 40).astype(np.float32)
    cells = np.r_[np.arange(20), np.arange(30, 50)].astype(np.int32)
    return [
        product.pack(Product(7, 2, 3, bytes(8), 32, cells, table, cols, block))
        for cols, block in ((0, 1), (16, 1), (4, 8))
    ]


def _municipal(data: bytes) -> object:
    return municipal.unpack(data, CONFIG, map_order(a_region()))


def _municipal_seeds() -> list[bytes]:
    labels = a_label_set()
    covered = np.where(labels.missing, 0, 0.5).astype(np.float32)
    ids = (labels.region_id, 2, 3, bytes(8), 32)
    return [municipal.pack(MunicipalProduct(*ids, labels.proportions, covered), map_order(a_region()))]


def _pdus() -> list[bytes]:
    t = Transaction.smallest(1, 2, 7)
    units = [
        Metadata(300, "labels-1-1", "labels-1-1"),
        FileData(0, b"some of it"),
        Eof(0x1234, 300),
        Nak(0, 300, ((10, 20), (40, 300))),
        Finished(),
    ]
    return [cfdp.pack(t, unit) for unit in units]


def _packets(names: tuple[str, ...]) -> list[bytes]:
    found = []
    for name in names:
        apid, body = encode(name, {})
        found.append(bytes([list(TABLES).index(Apid(apid))]) + body)
    return found


def _end(role: Role) -> Endpoint:
    return Endpoint(role, CONFIG, KEYS)


def _heard(role: Role, way: Direction) -> Callable[[bytes], object]:
    """What an end makes of packets in an authentic frame: it takes or counts them, and raises nothing."""

    def receive(data: bytes) -> object:
        secure = SecureChannel(CONFIG, KEYS, way, 1)
        room = CONFIG.frame_bytes - 29
        data = data[:room] if way is Direction.UPLINK else data[:room].ljust(room, b"\0")
        return _end(role).receive(secure.seal(Channel.OPERATIONS, data or b"\0", 0, 0)[0], 10.0)

    return receive


def _uplink_seeds() -> list[bytes]:
    packer = Packer(Direction.UPLINK)
    commands = [packer.pack(*encode("ping", {"echo": 7}, 1)), packer.pack(*encode("status", {}, 2))]
    return [b"".join(commands), *(packer.pack(FileKind.LABEL_SET, unit) for unit in _pdus()[:3])]


def _downlink_seeds() -> list[bytes]:
    packer = Packer(Direction.DOWNLINK)
    answer = {"command_id": 1, "outcome": "executed", "reason": ""}
    return [packer.pack(*encode("acknowledgement", answer, 1)), *(packer.pack(0x30, unit) for unit in _pdus()[3:])]


def _states() -> list[bytes]:
    ground = _end("ground")
    ground.submit(File("labels", FileKind.LABEL_SET, bytes(500)))
    ground.send(Telecommand("ping", {"echo": 3}))
    space = _end("space")
    space.send(
        Telemetry(
            "restarted",
            {"t_s": 0.0, "serial": 1, "incarnation": 1, "checkpoint_generation": 0, "cause": "", "kernels": "jit"},
        )
    )
    return [ground.save(), space.save()]


def _encoder(data: bytes) -> object:
    parse = flatbuffer.parse if data[4:8] == flatbuffer.IDENTIFIER else protobuf.parse
    return parse(data)


def _model(data: bytes) -> object:
    return Moments.from_state(data + zlib.crc32(data).to_bytes(4, "little"))


def _models() -> list[bytes]:
    rng = np.random.Generator(np.random.PCG64(2))
    learner = Moments(seed=1)
    chips = rng.integers(0, 256, (6, 32, 32, 3), np.uint8)
    learner.partial_fit(chips, np.array([0, 0, 1, 1, 2, 2]), number=np.arange(6))
    learner.set_labels(rng.dirichlet(np.ones(3), 3).astype(np.float32))
    learner.train(learner.pending_steps)
    return [learner.state()[:-4]]


def _chips() -> list[bytes]:
    chip = Chip(3, 1.5, 2, 1, 0, np.zeros((16, 16, 1), np.uint8))
    return [chip.pack(), Gap(4, 9).pack()]


def _captured(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "radio.pcapng"
        path.write_bytes(data)
        describer = Describer(KEYS)
        return [describer.describe(frame.data, frame.direction) for frame in Capture(path)]


def _captures() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "radio.pcapng"
        writer = CaptureWriter(path, 1e9, 1 << 16)
        secure = SecureChannel(CONFIG, KEYS, Direction.UPLINK, 1)
        for number, packets in enumerate(_uplink_seeds()):
            frame = secure.seal(Channel.OPERATIONS, packets, 0, 0)[0]
            writer.write(Captured(float(number), "up", frame, "passed", "", number + 0.1))
        writer.close()
        return [path.read_bytes()]


def _pickles() -> list[bytes]:
    chip = {"chip": np.zeros((2, 3, 3), np.uint8), "label_proportions": {"a": {"0": 1.0}}, "corners": (1.5, None)}
    return [pickle.dumps(chip, protocol) for protocol in (0, 2, 4, 5)]


TARGETS: dict[str, Target] = {
    "labels": Target("label sets, whole and as deltas", _labels, _label_seeds),
    "region": Target(
        "maps of a region",
        lambda data: region_codec.unpack(data, CONFIG, "python"),
        lambda: [region_codec.pack(a_region())],
    ),
    "region-patch": Target("patches of a map", _patched, lambda: [pack_patch(a_region(), split(a_region(), 2, 1))]),
    "municipal-product": Target("predictions by municipality", _municipal, _municipal_seeds),
    "product": Target("predictions", lambda data: product.unpack(data, CONFIG), _products),
    "update": Target(
        "updates of a slot on board",
        lambda data: parcel.unpack_update(data, 4096),
        lambda: [parcel.pack_update(parcel.Update("parameters", 2, b"cycle_s = 2.0\n"))],
    ),
    "bundle": Target(
        "flight bundles, as if the seal were right",
        lambda data: bundle.parse(data + bytes(32), None),
        lambda: [bundle.pack(A_MANIFEST, {bundle.LIBRARY: b"code", bundle.CONFIG: b"[caps]"}, KEYS)[:-32]],
        (bundle.BundleError,),
    ),
    "encoder": Target(
        "encoder files, as if the digest were right", _encoder, lambda: list(released.files()), (EncoderError,)
    ),
    "model": Target(
        "trained weights",
        lambda data: parcel.unpack_model(data, 4096),
        lambda: [parcel.pack_model(parcel.Model("moments", 1, 2, 3, bytes(range(200))))],
    ),
    "sequence": Target(
        "command sequences",
        sequence.unpack_sequence,
        lambda: [
            sequence.pack_sequence(
                sequence.Sequence(3, (sequence.SequenceStep(1.5, Telecommand("ping", {"echo": 7})),))
            )
        ],
    ),
    "pickle": Target("published chips, parsed and never run", pickles.loads, _pickles, (pickles.PickleError,)),
    "pdu": Target("protocol data units of CFDP", cfdp.unpack, _pdus, (RejectedError,)),
    "packet": Target(
        "bodies of telecommands and telemetry, behind a byte for the APID",
        lambda data: decode(list(TABLES)[data[0] % len(TABLES)] if data else 0, data[1:]),
        lambda: _packets(("status",)),
        (RejectedError,),
    ),
    "uplink": Target("packets in authentic frames, in space", _heard("space", Direction.UPLINK), _uplink_seeds, ()),
    "downlink": Target(
        "packets in authentic frames, on the ground", _heard("ground", Direction.DOWNLINK), _downlink_seeds, ()
    ),
    "frame": Target("frames that arrive", lambda data: _end("space").receive(data, 1.0), lambda: [bytes(40)], ()),
    "link-state": Target(
        "saved states of the link",
        lambda data: Endpoint.restore(data, "space" if b"\xa5space\xad" in data else "ground", CONFIG, KEYS),
        _states,
        (StateError, LinkError),
    ),
    "model-state": Target("a learner's saved state", _model, _models, (ModelError,)),
    "keys": Target("key files", KeyRing.parse, lambda: [KEYS.dump()], (KeyFileError,)),
    "camera": Target("messages of the camera", unpack_from_camera, _chips, (IngestError,)),
    "recorder": Target(
        "requests to the recorder",
        RecorderRequest.unpack,
        lambda: [RecorderRequest(3, 4, 9, False).pack()],
        (IngestError,),
    ),
    "capture": Target("captures of the radio", _captured, _captures, (CaptureError,)),
}
