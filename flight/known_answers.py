"""What a self-test computes: inputs from counters, so that they are the same everywhere, and a result as bytes.

Each check is a function of the backend and of a directory to work in. `EXACT` ones give the same bytes on every
machine, with compiled kernels and in plain Python; `COMPILED` ones need compiled kernels. Learners give the same bytes
with compiled kernels only, and numbers that are near them in numpy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.config import LinkConfig
from flight.kernels.backend import Backend
from flight.learn import LEARNERS
from flight.learn.counter import splitmix64
from flight.learn.kdm import KDM, RBF
from flight.link import content, labelset, product, region_codec
from flight.link.endpoint import Endpoint
from flight.link.events import FileReceived
from flight.link.keys import KeyRing
from flight.link.labelset import LabelSet
from flight.link.layout import map_order
from flight.link.packet import FileKind
from flight.link.product import Product
from flight.link.region import FULL, Region
from flight.link.transfer import File
from flight.store import Damage, Store

Check = Callable[[Backend, Path], bytes]
_SIDE, _MUNICIPALITIES, _CLASSES = 14, 24, 4
_STEPS = 4  # of training: an emulated processor does them in seconds


def drawn(n: int, seed: int, limit: int) -> NDArray[np.int64]:
    """`n` integers below `limit`."""
    return (splitmix64(np.arange(n), seed) % np.uint64(limit)).astype(np.int64)


def arithmetic(backend: Backend, folder: Path) -> bytes:
    """What the processor makes of numbers of all sizes, subnormal ones too."""
    bits = splitmix64(np.arange(258), 1).astype(np.uint32)
    x = (bits & np.uint32(0xBFFFFFFF)).view(np.float32)  # below 2: no sum or product of them overflows
    x[::5] = (bits[::5] & np.uint32(0x807FFFFF)).view(np.float32)  # subnormal
    x[x == 0] = np.float32(1e-40)
    y = np.zeros((256, 6), np.float32)
    backend.arithmetic(x, y, 256)
    y[~np.isfinite(y)] = 0  # of NaNs the standard leaves the bits open
    return y.tobytes()


def limits(backend: Backend, folder: Path) -> bytes:
    """Chains of fused multiply-adds of each length, and a triad."""
    x = (1 + drawn(3 * 192, 13, 1 << 20)).astype(np.float32).reshape(3, 12, 16) / np.float32(1 << 20)
    for values, chains in zip(x, (12, 6, 3), strict=True):
        backend.fma_chains(values, 0.75, 0.125, chains, 9)
    sums = np.zeros(192, np.float32)
    backend.triad(sums, x[0].ravel(), x[1].ravel(), 0.3, 192)
    return x.tobytes() + sums.tobytes()


def coded_content(backend: Backend, folder: Path) -> bytes:
    """Text and numbers through the range coder and back."""
    raw = b"municipality, share\n" * 8 + drawn(300, 2, 1 << 40).astype("<i8").tobytes()[:1200]
    coded = content.encode(raw, backend.decoders)
    _same(content.decode(coded, len(raw), backend.decoders), raw)
    return coded


def region_file(backend: Backend, folder: Path) -> bytes:
    """A region file and the region in it."""
    coded = region_codec.pack(_region(), backend=backend.decoders)
    found = region_codec.unpack(coded, LinkConfig(), backend.decoders)
    _same(found.digest, _region().quantised().digest)
    return coded


def label_files(backend: Backend, folder: Path) -> bytes:
    """A label table along a map, and a delta against it."""
    order = map_order(_region().quantised())
    first, second = _labels(3, 1), _labels(4, 2)
    coded = labelset.pack(first, order, backend=backend.decoders)
    held = labelset.unpack(coded, LinkConfig(), order, backend=backend.decoders)
    delta = labelset.pack(second, order, held, backend=backend.decoders)
    found = labelset.unpack(delta, LinkConfig(), order, held, backend=backend.decoders)
    _same(found.crc, second.quantised().crc)
    return coded + delta


def product_file(backend: Backend, folder: Path) -> bytes:
    """A product and the proportions in it."""
    cells = np.unique(drawn(90, 5, _SIDE * _SIDE)).astype(np.int32)
    table = _proportions(len(cells), 6)
    made = Product(1, 2, 3, bytes(8), 64, cells, table, _SIDE, 1)
    coded = product.pack(made, backend.decoders)
    found = product.unpack(coded, LinkConfig(), backend.decoders)
    _same(found.proportions.tobytes(), made.quantised().proportions.tobytes())
    return coded


def link_frames(backend: Backend, folder: Path) -> bytes:
    """A file from the ground to space, in sealed frames, and the answers."""
    keys = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
    ground, space = Endpoint("ground", LinkConfig(), keys), Endpoint("space", LinkConfig(), keys)
    raw = drawn(125, 7, 1 << 40).astype("<i8").tobytes()
    ground.set_contact(True, 0.0)
    ground.submit(File("labels", FileKind.LABEL_SET, raw))
    sent: list[bytes] = []
    received: list[bytes] = []
    for second in range(40):
        for near, far in ((ground, space), (space, ground)):
            frame = near.poll(float(second))
            if frame is not None:
                sent.append(frame)
                found = far.receive(frame, float(second))
                received += [each.file.data for each in found if isinstance(each, FileReceived)]
    _same(received, [raw])
    return b"".join(sent)


def store_records(backend: Backend, folder: Path) -> bytes:
    """A record in two generations, of which the newer one is damaged: the older one is there."""
    told: list[Damage] = []
    store = Store(folder, told.append)
    store.put("record", b"first")
    store.put("record", b"second")
    _same(store.get("record"), b"second")
    damaged = 0
    for path in sorted(folder.glob("record.*")):
        data = path.read_bytes()
        if data.endswith(b"second"):
            path.write_bytes(data[:-1] + b"?")
            damaged += 1
    again = Store(folder, told.append)
    _same((again.get("record"), damaged, len(told)), (b"first", 1, 1))
    return b"first"


def trained(name: str, backend: Backend) -> tuple[bytes, list[float]]:
    """The weights of learner `name` after a few steps on noise, and what it predicts of two chips."""
    maker = LEARNERS[name]
    steps = {"n_steps": _STEPS} if "n_steps" in inspect.signature(maker).parameters else {}
    learner = maker(seed=3, **steps).use(backend)
    n = 48
    chips = drawn(n * 16 * 16 * 3, 8, 256).astype(np.uint8).reshape(n, 16, 16, 3)
    bags = (np.arange(n) % 12).astype(np.int32)
    chips[:, ::2] //= 1 + (bags % 4).astype(np.uint8)[:, None, None, None]
    learner.partial_fit(chips, bags)
    learner.set_labels(_proportions(12, 9), task_id=1)
    weights = learner.weights()
    return weights, [float(value) for value in learner.predict(chips[:2]).ravel()]


def densities(backend: Backend, folder: Path) -> bytes:
    """Log-densities of points and shares of components, of a kernel density matrix."""
    points = drawn(12 * 6, 11, 1000).reshape(12, 6) / 300.0
    density = KDM.of(points[:9], RBF(0.7), 1 + drawn(9, 12, 5))
    found = density.log_density(points, backend), density.log_responsibilities(points, backend=backend)
    return b"".join(part.astype("<f8").tobytes() for part in found)


COMPILED: dict[str, Check] = {"arithmetic": arithmetic, "densities": densities, "limits": limits}
EXACT: dict[str, Check] = {
    "content": coded_content,
    "region": region_file,
    "labels": label_files,
    "product": product_file,
    "frames": link_frames,
    "store": store_records,
}


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError("what was read is not what was written")


def _proportions(rows: int, seed: int) -> NDArray[np.float32]:
    counts = 1 + drawn(rows * _CLASSES, seed, 60).reshape(rows, _CLASSES)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float32)


def _labels(seed: int, version: int) -> LabelSet:
    classes = tuple(f"class {k}" for k in range(_CLASSES))
    table = _proportions(_MUNICIPALITIES, 1)
    table[seed::4] = _proportions(_MUNICIPALITIES, seed)[seed::4]
    table[seed] = np.nan
    return LabelSet(1, 2, version, classes, table, 32)


def _region() -> Region:
    """Municipalities around random seats, a chip between two of them belonging to both."""
    seats = drawn(2 * _MUNICIPALITIES, 10, _SIDE).reshape(-1, 2)
    rows, cols = np.divmod(np.arange(_SIDE * _SIDE), _SIDE)
    away = 64 * ((rows[:, None] - seats[:, 0]) ** 2 + (cols[:, None] - seats[:, 1]) ** 2) + np.arange(len(seats))
    nearest = np.argsort(away, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(away, nearest, 1).T
    bags = np.full((_SIDE * _SIDE, 4), -1, np.int32)
    weights = np.zeros((_SIDE * _SIDE, 4), np.uint8)
    bags[:, 0], weights[:, 0] = nearest[:, 0], FULL
    shared = second - first < 128
    bags[shared, 1] = nearest[shared, 1]
    weights[shared, :2] = (155, 100)
    return Region(1, _SIDE, _SIDE, tuple(f"{17 * k:05d}" for k in range(_MUNICIPALITIES)), bags, weights)
