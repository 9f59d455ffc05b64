"""Frames: what they cost in bytes, how fast they are authenticated, and how many hostile ones are accepted."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator

from benchmarks import rows
from benchmarks.hostile import Attacker, attack
from flight.config import LinkConfig
from flight.link.channels import Reception, max_data_bytes
from flight.link.dictionary import Telemetry
from flight.link.endpoint import Endpoint
from flight.link.frame import SECURITY_HEADER, TAG_BYTES, Channel, Direction
from flight.link.keys import KeyRing
from flight.link.packet import FileKind, Packer, split
from flight.link.security import SecureChannel
from flight.link.telecommanding import Role
from flight.link.transfer import File

KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
LIMIT_PERCENT = 20.5
CONTENT_BYTES = 50_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this part."""
    parser.add_argument("--hostile-frames", type=int, default=1_000_000, help="how many are tried, both ways together")


def measure(options: argparse.Namespace) -> Iterator[rows.Row]:
    """The rows of this part."""
    config = LinkConfig()
    for role, way in (("ground", "uplink"), ("space", "downlink")):
        cost = overhead_bytes(role, config)
        whole = float(config.frame_bytes)
        yield rows.Row(f"{way} / all but file data in a full frame", cost, "bytes", ("frame", whole))
        yield rows.Row(f"{way} / the same, share", 100 * cost / whole, "%", ("limit", LIMIT_PERCENT))
    yield rows.Row("downlink / frame of a lone pong", lone_frame_bytes(config), "bytes")
    n_frames, repeats = (2_000, 3) if options.quick else (20_000, 7)
    yield from _speeds(config, n_frames, repeats)
    yield from _hostile(20_000 if options.quick else options.hostile_frames)


def overhead_bytes(role: Role, config: LinkConfig) -> float:
    """Everything but file data in the fullest frame that an end sends of a file [bytes], found in the bytes sent."""
    content = bytes(_noise(CONTENT_BYTES))
    endpoint = Endpoint(role, config, KEYS)
    _in_contact(endpoint, config)
    endpoint.submit(File("content", FileKind.PRODUCT, content))
    carried = []
    for _ in range(20):
        frame = endpoint.poll(0.0)
        if frame is not None and len(frame) == config.frame_bytes:
            carried.append(_common(frame, content))
    return float(config.frame_bytes - max(carried))


def _noise(size: int) -> Iterator[int]:
    state = 1
    for _ in range(size):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield state >> 56


def _common(frame: bytes, content: bytes) -> int:
    """How many bytes of the content run through the middle of the frame."""
    middle = len(frame) // 2
    at = content.find(frame[middle : middle + 16])
    if at < 0:
        return 0
    start, end = 0, 16
    while frame[middle - start - 1] == content[at - start - 1] and start < at:
        start += 1
    while at + end < len(content) and frame[middle + end] == content[at + end]:
        end += 1
    return start + end


def _in_contact(endpoint: Endpoint, config: LinkConfig) -> None:
    """Bring an end into contact: space by a frame of a ground that has nothing to say."""
    if endpoint.role == "ground":
        endpoint.set_contact(True, 0.0)
        return
    ground = Endpoint("ground", config, KEYS)
    ground.set_contact(True, 0.0)
    endpoint.receive(ground.poll(0.0) or b"", 0.0)


def lone_frame_bytes(config: LinkConfig) -> float:
    """What the shortest telemetry packet takes on the air when nothing else is to be sent [bytes]."""
    space = Endpoint("space", config, KEYS)
    _in_contact(space, config)
    space.send(Telemetry("pong", {"echo": 1, "t_s": 0.0}))
    return float(len(space.poll(0.0) or b""))


def _speeds(config: LinkConfig, n_frames: int, repeats: int) -> Iterator[rows.Row]:
    for way in Direction:
        frames = _full_frames(way, config, n_frames)
        name = f"{way.name.lower()} / decoded and authenticated"
        yield rows.rate(name, "frames/s", n_frames, _opening(way, config, frames), repeats)
    yield rows.rate(
        "downlink / the same, and packets taken out", "frames/s", n_frames, _taking(config, frames), repeats
    )
    name = "downlink / F Prime GDS, packets without authentication"
    if importlib.util.find_spec("fprime_gds") is None:
        yield rows.Row(name, None, "frames/s", why="fprime-gds is not installed")
        return
    yield rows.rate(name, "frames/s", n_frames // 10, _by_fprime(config, frames[: n_frames // 10]), 3)


def _full_frames(way: Direction, config: LinkConfig, n_frames: int) -> list[bytes]:
    channel, packer = SecureChannel(config, KEYS, way), Packer(way)
    body = bytes(max_data_bytes(way, config.frame_bytes) - 6)
    return [channel.seal(Channel.FILE_DATA, packer.pack(0x42, body), i % 256)[0] for i in range(n_frames)]


def _opening(way: Direction, config: LinkConfig, frames: list[bytes]) -> Callable[[], None]:
    def work() -> None:
        receiver = SecureChannel(config, KEYS, way.other)
        for frame in frames:
            receiver.open(frame)

    return work


def _taking(config: LinkConfig, frames: list[bytes]) -> Callable[[], None]:
    def work() -> None:
        receiver = SecureChannel(config, KEYS, Direction.UPLINK)
        reception = Reception(Direction.DOWNLINK, config.counter_block, {})
        for frame in frames:
            for run in reception.take(receiver.open(frame)):
                for _ in split(run, Direction.DOWNLINK):
                    pass

    return work


def _by_fprime(config: LinkConfig, frames: list[bytes]) -> Callable[[], None]:
    """The ground data system of F Prime on the same frames, its data field less the security fields."""
    from fprime_gds.common.communication.ccsds.space_data_link import SpaceDataLinkFramerDeframer

    class Deframer(SpaceDataLinkFramerDeframer):  # type: ignore[misc]
        def reassemble(self, field: bytes, first_header_pointer: int, vc_count: int) -> bytes:
            bare = field[SECURITY_HEADER.size : -TAG_BYTES]
            return bytes(super().reassemble(bare, first_header_pointer, vc_count))

    def work() -> None:
        deframer = Deframer(config.spacecraft_id, Channel.FILE_DATA, config.frame_bytes)
        for frame in frames:
            deframer.deframe(frame)

    return work


def _hostile(n_frames: int) -> Iterator[rows.Row]:
    accepted, refused = 0, 0
    authenticated = 0
    for way in Direction:
        found, reasons = attack(Attacker(way, seed=int(way)), n_frames // 2)
        accepted += found
        refused += sum(reasons.values())
        authenticated += found + reasons.get("bad_tag", 0) + reasons.get("replayed", 0)
    yield rows.Row("hostile frames / accepted", float(accepted), "frames", n=accepted + refused)
    yield rows.Row("hostile frames / stopped by tag or window alone", float(authenticated - accepted), "frames")
