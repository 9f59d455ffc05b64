"""The cores of a mission, built from a plan's specification on disk: in this process, or each in one of its own.

``python -m sim.node KIND DIRECTORY`` runs one as a process; the mission starts it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from flight.caps import PARENT_VARIABLE, die_with_parent
from flight.clock import ScaledClock
from flight.config import LinkConfig, build
from flight.edge import PortSpec
from flight.link.dictionary import Telecommand, embed, extract
from flight.link.keys import KeyRing
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.runner import run_clocked, run_stepped
from flight.step import Core
from flight.store import Store
from ground.archive import StationArchive
from ground.capture import CaptureWriter
from ground.station import Order, Station, Tagged, Window
from sim import hop
from sim.board import Board
from sim.camera import Camera
from sim.channel import Channel
from sim.lockstep import Wires, wires
from sim.overpass import Overpass
from sim.plan import Plan, open_source
from sim.radio import MB
from sim.record import PassRecord
from sim.scenario import Scenario

KINDS = ("camera", "channel", "station", "board")
WIRING: Wires = wires(
    (("station", "radio"), ("channel", "ground")),
    (("channel", "space"), ("flight", "radio")),
    (("camera", "flight"), ("flight", "camera")),
    (("board", "flight"), ("flight", "board")),
)
SPEC, OVERPASSES, FILES, KEYS, CONFIG = "mission.json", "overpasses.npz", "uplink", "keys.toml", "flight.toml"
BUNDLE, CAPTURE, ENCODER = "kernels.bundle", "radio.pcapng", "encoder-{}"


def kinds(scenario: Scenario) -> tuple[str, ...]:
    """The kinds of nodes that a scenario has beside flight; a board only if there is a power section."""
    return KINDS if scenario.power.enabled else tuple(kind for kind in KINDS if kind != "board")


def write_spec(plan: Plan, directory: Path, keys: KeyRing) -> None:
    """Write down all that the cores are built from, into `directory`."""
    (directory / FILES).mkdir(parents=True, exist_ok=True)
    orders: list[dict[str, Any]] = []
    for order in plan.orders:
        if isinstance(order.item, File):
            (directory / FILES / order.item.name).write_bytes(order.item.data)
            orders.append({"at_s": order.at_s, "file": order.item.name, "kind": int(order.item.kind)})
        else:
            orders.append({"at_s": order.at_s, **_command_spec(order.item)})
    for i, data in enumerate(plan.encoders):
        (directory / ENCODER.format(i)).write_bytes(data)
    spec = {
        "scenario": dataclasses.asdict(plan.scenario),
        "data": str(plan.data.resolve()) if plan.data is not None else None,
        "eclipses": plan.eclipses,
        "contacts": [dataclasses.asdict(contact) for contact in plan.contacts],
        "orders": orders,
    }
    (directory / SPEC).write_text(json.dumps(spec), encoding="utf-8")
    arrays = {}
    for i, overpass in enumerate(plan.overpasses):
        arrays[f"cells_{i}"], arrays[f"t_s_{i}"] = overpass.cells, overpass.t_s
        arrays[f"scalars_{i}"] = np.array([overpass.scene, overpass.off_nadir_deg, overpass.sun_elevation_deg])
    np.savez(directory / OVERPASSES, **arrays)  # type: ignore[arg-type]
    path = directory / KEYS
    path.touch(mode=0o600)
    path.write_bytes(keys.dump())
    (directory / CONFIG).write_text(_toml(dataclasses.asdict(plan.scenario.flight_config())), encoding="utf-8")


def _command_spec(item: Telecommand | Tagged) -> dict[str, Any]:
    """A telecommand as plain values."""
    if isinstance(item, Tagged):
        return {"execute_s": item.execute_s, "if_late": item.if_late, "embedded": embed(item.command).hex()}
    return {"embedded": embed(item).hex()}


def _toml(table: dict[str, Any]) -> str:
    """A table of flat tables, and of lists of them, as TOML; None is left out."""
    lines = []
    for section, values in table.items():
        for each in values if isinstance(values, (list, tuple)) else (values,):
            lines.append(f"[{section}]" if each is values else f"[[{section}]]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in each.items() if value is not None]
    return "\n".join(lines) + "\n"


def make_core(kind: str, directory: Path, imagery: Any = None) -> Core:
    """The core of one kind, from the specification in `directory`. `imagery` saves the camera opening it again."""
    spec = json.loads((directory / SPEC).read_text(encoding="utf-8"))
    scenario = build(Scenario, spec["scenario"])
    if kind == "camera":
        data = Path(spec["data"]) if spec["data"] else None
        return Camera(
            imagery if imagery is not None else open_source(scenario, data),
            _overpasses(directory / OVERPASSES),
            recorder_bytes=int(scenario.camera.recorder_mb * 1e6),
        )
    passes = [PassRecord(**contact) for contact in spec["contacts"]]
    if kind == "board":
        contacts = [(one.aos_s, one.los_s) for one in passes]
        return Board(scenario.power, [(start_s, end_s) for start_s, end_s in spec["eclipses"]], contacts)
    if kind == "channel":
        return Channel(scenario.radio, passes, scenario.seed, _recorder(scenario, directory.parent))
    link: LinkConfig = scenario.flight_config().link
    windows = [Window(contact.aos_s, contact.los_s) for contact in passes]
    orders = [_order(order, directory) for order in spec["orders"]]
    ground = directory.parent / "ground"
    keys = KeyRing.load(directory / KEYS)
    return Station(link, keys, windows, orders, StationArchive(ground), Store(ground / "state"))


def _recorder(scenario: Scenario, directory: Path) -> CaptureWriter | None:
    """What writes the capture that the scenario asks for, into the mission's directory."""
    if not scenario.radio.capture_mb:
        return None
    return CaptureWriter(directory / CAPTURE, scenario.epoch().timestamp(), int(scenario.radio.capture_mb * MB))


def _order(order: dict[str, Any], directory: Path) -> Order:
    if "embedded" in order:
        command = extract(bytes.fromhex(order["embedded"]))
        if "execute_s" in order:
            return Order(order["at_s"], Tagged(order["execute_s"], order["if_late"], command))
        return Order(order["at_s"], command)
    data = (directory / FILES / order["file"]).read_bytes()
    return Order(order["at_s"], File(order["file"], FileKind(order["kind"]), data))


def _overpasses(path: Path) -> list[Overpass]:
    found = []
    with np.load(path, allow_pickle=False) as arrays:
        for i in range(sum(name.startswith("cells_") for name in arrays.files)):
            scene, off_nadir_deg, sun_elevation_deg = arrays[f"scalars_{i}"].tolist()
            found.append(
                Overpass(int(scene), off_nadir_deg, sun_elevation_deg, arrays[f"cells_{i}"], arrays[f"t_s_{i}"])
            )
    return found


def ports(kind: str, sockets: Path) -> list[PortSpec]:
    """The ports of the node called `kind`, whose sockets (or where they are) are in the directory `sockets`."""
    return [hop.port_spec(sockets, end, other) for end, other in WIRING.items() if end[0] == kind]


def main() -> None:
    """Run one core as a process."""
    parser = argparse.ArgumentParser(prog="python -m sim.node", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sockets", type=Path, required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--epoch", type=float)
    parser.add_argument("--rate", type=float, default=1.0)
    options = parser.parse_args()
    if os.environ.get(PARENT_VARIABLE):
        die_with_parent()
    core = make_core(options.kind, options.directory)
    where = ports(options.kind, options.sockets)
    if options.epoch is None:
        run_stepped(core, options.kind, where, options.control)
    else:
        run_clocked(core, options.kind, where, ScaledClock(options.epoch, options.rate), options.control)


if __name__ == "__main__":
    main()
