"""The plan of a mission: everything that follows from a scenario and its imagery before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.link import labelset, layout, parcel, region_codec
from flight.link.labelset import LabelSet
from flight.link.layout import MapOrder
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.region import Region
from flight.link.transfer import File
from ground.datasets import open_imagery
from ground.imagery import TRAIN, Imagery, Task
from ground.regions import region_from_imagery
from ground.station import Order, Tagged
from ground.times import clock
from sim import encoders
from sim.channel import check_contacts
from sim.elevation import with_elevations
from sim.orbit import Orbit, contacts, passes
from sim.overpass import REACH_KM, Footprint, Overpass, approaches
from sim.place import placed, seen
from sim.record import PassRecord
from sim.scenario import LabelOrder, Scenario, UpdateOrder
from sim.world import World

REGION_ID = 1


class PlanError(ValueError):
    """A scenario that cannot be flown: nothing to image, no pass, no labels."""


@dataclass
class Plan:
    """A mission as planned; `sent` are the label sets in the order of their upload, `skipped` what was left out."""

    scenario: Scenario
    data: Path | None
    imagery: Imagery
    region: Region
    orbit: Orbit
    contacts: list[PassRecord]
    overpasses: list[Overpass]
    orders: list[Order]
    sent: list[LabelSet]
    label_bytes: int  # of the packed files, each sent once
    region_bytes: int
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what the scenario left to the region
    eclipses: list[tuple[float, float]] = field(default_factory=list)  # where there is a power section
    encoders: tuple[bytes, ...] = ()  # files of the encoder that flight is started with

    def task(self, task_id: int) -> Task:
        """The imagery's task of that number."""
        return next(task for task in self.imagery.tasks if task.task_id == task_id)

    def chip_at(self) -> NDArray[np.int64]:
        """int64 (rows x cols,), the chip of each cell, -1 where there is none."""
        chips = np.full(self.imagery.rows * self.imagery.cols, -1, np.int64)
        cell = self.imagery.cell.astype(np.int64)
        chips[cell[:, 0] * self.imagery.cols + cell[:, 1]] = np.arange(len(cell))
        return chips

    def scene_of(self) -> NDArray[np.int64]:
        """int64 (n_chips,), the overpass in which each chip is last seen, -1 if never."""
        chips, scenes = self.chip_at(), np.full(self.imagery.n_chips, -1, np.int64)
        for overpass in self.overpasses:
            seen = chips[overpass.cells]
            scenes[seen[seen >= 0]] = overpass.scene
        return scenes


def open_source(scenario: Scenario, data: Path | None) -> Imagery:
    """The imagery: a data file, or the scenario's synthetic Earth."""
    if data is not None:
        return open_imagery(data)
    world = scenario.world
    try:
        return World(scenario.seed, world.rows, world.cols, world.municipalities, chip_px=world.chip_px)
    except ValueError as error:
        raise PlanError(f"world: {error}") from error


def make_plan(scenario: Scenario, data: Path | None = None) -> Plan:
    """Plan `scenario` over its own world, or over the imagery in `data`; PlanError if there is nothing to fly."""
    imagery = open_source(scenario, data)
    scenario, notes = placed(scenario, imagery)
    orbit = scenario.build_orbit()
    stations = scenario.station_list()
    found = with_elevations(orbit, stations, contacts(passes(orbit, stations, 0.0, scenario.duration_s)))
    if not found:
        raise PlanError(f"no pass over {', '.join(s.name for s in scenario.stations)} in {scenario.duration_h:g} h")
    check_contacts(scenario.radio, found)
    overpasses = seen(scenario, imagery)
    if not scenario.camera.revisit:
        overpasses = _first_looks(overpasses, imagery.rows * imagery.cols)
    if not overpasses:
        raise PlanError(_why_never(scenario, orbit, imagery))
    built = region_from_imagery(imagery, REGION_ID, imagery.bag_split == TRAIN)  # no other has rows to send
    packed = region_codec.pack(built)
    plan = Plan(scenario, data, imagery, built, orbit, found, overpasses, [], [], 0, len(packed), notes=notes)
    plan.encoders = encoders.read(scenario)
    if scenario.power.enabled:
        plan.eclipses = orbit.eclipses(0.0, scenario.duration_s)
    plan.orders.append(Order(0.0, File("region", FileKind.REGION, packed)))
    order = layout.map_order(built.quantised())
    for number, wanted in enumerate(scenario.labels):
        _order_labels(plan, wanted, order, f"labels[{number}].file: {wanted.file}")
    if not plan.sent:
        raise PlanError("no label set is sent: check the labels of the scenario")
    for number, update in enumerate(scenario.updates):
        _order_update(plan, update, f"updates[{number}].file: {update.file}")
    plan.orders += [order.order() for order in (*scenario.sequences, *scenario.commands)]
    plan.orders.sort(key=lambda order: order.at_s)
    return plan


def _why_never(scenario: Scenario, orbit: Orbit, imagery: Imagery) -> str:
    """By how much the camera never reaches the region, or never by day."""
    camera, site = scenario.camera, scenario.site
    footprint = Footprint(site.lat_deg, site.lon_deg, imagery.rows, imagery.cols)
    found = approaches(orbit, footprint, 0.0, scenario.duration_s, camera.swath_km)
    what = "the region is never in reach of the camera by day"
    if not found:
        return f"{what}: the satellite never comes within {REACH_KM:g} km of it; check site, orbit and duration_h"
    by_day = [each for each in found if each.sun_elevation_deg >= camera.min_sun_elevation_deg]
    if not by_day:
        highest = max(each.sun_elevation_deg for each in found)
        return (
            f"{what}: of {len(found)} approaches none has the Sun higher than {highest:.1f} deg, "
            f"camera.min_sun_elevation_deg is {camera.min_sun_elevation_deg:g}; check orbit.ltan_h and epoch_utc"
        )
    nearest = min(each.roll_deg for each in by_day)
    return (
        f"{what}: the nearest of {len(by_day)} approaches by day needs a roll of {nearest:.1f} deg, "
        f"camera.max_off_nadir_deg is {camera.max_off_nadir_deg:g}; check site, orbit and duration_h"
    )


def _first_looks(overpasses: list[Overpass], n_cells: int) -> list[Overpass]:
    """The overpasses without the cells that an earlier one has imaged, and without those that have none left."""
    done, kept = np.zeros(n_cells, bool), []
    for overpass in overpasses:
        new = ~done[overpass.cells]
        if new.any():
            kept.append(replace(overpass, cells=overpass.cells[new], t_s=overpass.t_s[new]))
        done[overpass.cells] = True
    return kept


def _order_labels(plan: Plan, wanted: LabelOrder, order: MapOrder, where: str) -> None:
    known = [task.task_id for task in plan.imagery.tasks]
    if wanted.file:
        labels, packed = _packed_labels(plan, Path(wanted.file), order, where)
    elif wanted.task not in known:
        plan.skipped.append(f"labels of task {wanted.task}, which this imagery has not")
        return
    else:
        labels = label_set(plan.imagery, plan.task(wanted.task), wanted, plan.scenario.seed)
        packed = labelset.pack(labels, order)
    name = f"labels-{labels.task_id}-{labels.version}"
    plan.orders.append(Order(wanted.at_h * 3600, File(name, FileKind.LABEL_SET, packed)))
    plan.sent.append(labels.quantised())
    plan.label_bytes += len(packed)


def _packed_labels(plan: Plan, path: Path, order: MapOrder, where: str) -> tuple[LabelSet, bytes]:
    """The label set in a file, and the file; PlanError if it does not fit the imagery or what was sent before."""
    limits = plan.scenario.flight_config().link
    try:
        if path.stat().st_size > limits.max_file_bytes:
            raise PlanError(f"{where}: is larger than the link takes, {limits.max_file_bytes} bytes")
        packed = path.read_bytes()
        base = labelset.read_header(packed, limits).base
        sent = next((sent for sent in plan.sent if sent.base_id == base), None)
        labels = labelset.unpack(packed, limits, order, sent)
    except OSError as error:
        raise PlanError(f"{where}: {error.strerror}") from None
    except CodecError as error:
        raise PlanError(f"{where}: {error}") from None
    task = next((task for task in plan.imagery.tasks if task.task_id == labels.task_id), None)
    if labels.region_id != REGION_ID or len(labels.proportions) != len(plan.imagery.codes):
        raise PlanError(
            f"{where}: {len(labels.proportions)} municipalities of region {labels.region_id}, the imagery has "
            f"{len(plan.imagery.codes)} of region {REGION_ID}"
        )
    if task is None or len(task.class_names) != len(labels.classes):
        tasks = ", ".join(f"{t.task_id} ({len(t.class_names)} classes)" for t in plan.imagery.tasks)
        raise PlanError(
            f"{where}: task {labels.task_id} with {len(labels.classes)} classes, the imagery has task {tasks}"
        )
    before = [sent.version for sent in plan.sent if sent.task_id == labels.task_id]
    if before and labels.version <= max(before):
        raise PlanError(f"{where}: version {labels.version} of task {labels.task_id} comes after {max(before)}")
    return labels, packed


def _order_update(plan: Plan, wanted: UpdateOrder, where: str) -> None:
    """Order the update in a file; PlanError if it is none, or another of its slot and version is ordered."""
    limit = plan.scenario.flight_config().link.max_file_bytes
    try:
        if Path(wanted.file).stat().st_size > limit:
            raise PlanError(f"{where}: is larger than the link takes, {limit} bytes")
        data = Path(wanted.file).read_bytes()
        update = parcel.unpack_update(data, limit)
    except OSError as error:
        raise PlanError(f"{where}: {error.strerror}") from None
    except CodecError as error:
        raise PlanError(f"{where}: {error}") from None
    name = f"update-{update.slot}-{update.version}"
    if any(isinstance(order.item, File) and order.item.name == name for order in plan.orders):
        raise PlanError(f"{where}: version {update.version} of {update.slot} is ordered twice")
    plan.orders.append(Order(wanted.at_h * 3600, File(name, FileKind.UPDATE, data)))


def label_set(imagery: Imagery, task: Task, wanted: LabelOrder, seed: int) -> LabelSet:
    """The label set to send: a share of the training municipalities' rows; all other rows are missing.

    Which rows a share takes depends on `seed` alone, so a larger share contains a smaller one.
    """
    training = np.flatnonzero(imagery.bag_split == TRAIN)
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(training))
    chosen = training[order[: round(wanted.share * len(training))]]
    table = np.full((len(imagery.codes), len(task.class_names)), np.nan, np.float32)
    table[chosen] = imagery.table(task)[chosen]
    return LabelSet(REGION_ID, task.task_id, wanted.version, task.class_names, table, wanted.levels)


def timeline(plan: Plan) -> list[str]:
    """The plan as lines, in the order of their mission times."""
    lines = [
        (c.aos_s, f"pass      {c.station}, {(c.los_s - c.aos_s) / 60:.1f} min, up to {c.max_elevation_deg:.0f} deg")
        for c in plan.contacts
    ]
    lines += [(o.start_s, f"imaging   {o.cells.size} cells, roll {o.off_nadir_deg:.1f} deg") for o in plan.overpasses]
    lines += [(order.at_s, _order_line(order)) for order in plan.orders]
    lines += [(order.at_h * 3600, f"fault     {order.kind}") for order in plan.scenario.faults]
    return [f"{clock(t_s)[:-4]}  {text}" for t_s, text in sorted(lines, key=lambda line: line[0])]


def _order_line(order: Order) -> str:
    if isinstance(order.item, File):
        return f"upload    {order.item.name}, {len(order.item.data)} bytes"
    tagged = isinstance(order.item, Tagged)
    command = order.item.command if isinstance(order.item, Tagged) else order.item
    args = " ".join(f"{name}={value}" for name, value in command.args.items())
    when = f" at {clock(order.item.execute_s)[:-4]}, if late {order.item.if_late}" if tagged else ""
    return f"command   {command.name} {args}".rstrip() + when
