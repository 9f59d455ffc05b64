"""swath-sim: fly missions, look at scenarios, export synthetic worlds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from flight.clock import wall_s
from flight.config import ConfigError
from flight.edge import EdgeError
from flight.learn import LEARNERS
from ground.orders import read_commands
from ground.versions import with_version
from sim import world_export
from sim.campaign.cli import campaign
from sim.flatsat import Board
from sim.interrupt import interruptible
from sim.lockstep import LockstepError
from sim.mission import Mission, View
from sim.outcome import conclude
from sim.plan import Plan, make_plan, timeline
from sim.radio import LOSS, UPLINK_BPS
from sim.report import console_table, write_map_png, write_report, write_summary
from sim.report_summary import number
from sim.scenario import Scenario, built_in, load_scenario, reference

app = typer.Typer(
    help="Simulated missions: a satellite, a ground station and the radio between them, as real processes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
world_app = typer.Typer(help="Synthetic worlds.", no_args_is_help=True)
app.add_typer(world_app, name="world")
app.command()(campaign)
with_version(app, "swath-sim")
DEFAULT_OUT = Path("runs")
CAPTURE_MB = 256.0  # where the scenario does not say


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 2; a mission that broke down into exit code 1."""
    try:
        yield
    except (LockstepError, EdgeError) as error:
        typer.echo(f"swath-sim: {error}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, OSError) as error:  # of scenario, data, orbit, plan or files; each says where
        typer.echo(f"swath-sim: {error}", err=True)
        raise typer.Exit(2) from error


def _clock(value: str) -> float | None:
    """Mission seconds a wall second; None for stepped time."""
    if value == "stepped":
        return None
    if value == "wall":
        return 1.0
    kind, _, rate = value.partition(":")
    try:
        if kind == "scaled" and float(rate) > 0:
            return float(rate)
    except ValueError:
        pass
    raise ConfigError(f"--clock {value}: expected stepped, wall or scaled:RATE, such as scaled:10")


@app.command()
def run(
    scenario: Annotated[
        str | None, typer.Argument(help="Built-in scenario or TOML file (demo; with --data, data).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Imagery with labels (npz) in place of the synthetic Earth.")
    ] = None,
    learner: Annotated[str | None, typer.Option(help=f"Learner: {', '.join(LEARNERS)}.")] = None,
    link: Annotated[str | None, typer.Option(help=f"Uplink preset: {', '.join(UPLINK_BPS)}.")] = None,
    loss: Annotated[str | None, typer.Option(help=f"Loss preset: {', '.join(LOSS)}.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    commands: Annotated[
        Path | None, typer.Option(help="More telecommands (swath-ground command NAME ... -o FILE).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for the results (runs/SCENARIO).")] = None,
    clock: Annotated[str, typer.Option(help="stepped (reproducible), wall, or scaled:RATE for show.")] = "stepped",
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The same cores in one process, no sockets.")
    ] = False,
    tcp: Annotated[
        bool, typer.Option("--tcp", help="The processes meet over TCP on the loopback, protected by CurveZMQ.")
    ] = False,
    flight: Annotated[
        str | None, typer.Option(help="Fly on a board: tcp://BOARD:PORT, where `swath-flight listen` listens.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="With --flight: the desk's keys (swath-ground keys flatsat).")
    ] = None,
    capture: Annotated[
        bool, typer.Option("--capture", help="Write every frame to radio.pcapng (swath-ground capture).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
) -> None:
    """Fly a mission, and write summary.json and report.html. Exit code 0 only if the mission was completed."""
    with _errors(), interruptible():
        chosen = _chosen(load_scenario(scenario or ("data" if data else "demo")), learner, link, loss, seed)
        if commands is not None:
            chosen = dataclasses.replace(chosen, commands=(*chosen.commands, *read_commands(commands)))
        if capture and not chosen.radio.capture_mb:
            chosen = dataclasses.replace(chosen, radio=dataclasses.replace(chosen.radio, capture_mb=CAPTURE_MB))
        rate = _clock(clock)
        board = _board(flight, keys, in_process or tcp)
        directory = out or DEFAULT_OUT / (chosen.name if data is None else f"{chosen.name}-{data.stem}")
        console = Console(stderr=True, quiet=as_json)
        started_s = wall_s()
        plan = make_plan(chosen, data)
        _announce(console, plan)
        with _Display(console) as display:
            mission = Mission(
                plan, directory, in_process=in_process, tcp=tcp, board=board, rate=rate, observer=display.show
            )
            mission.timings["plan_s"] = wall_s() - started_s
            mission.fly()
            mission.export()
        console.print("scoring and writing the report ...")
        scored_s = wall_s()
        record = conclude(mission)
        report = write_report(record, directory)
        record.summary["timings"]["report_s"] = wall_s() - scored_s
        write_summary(record.summary, directory)
        if record.geographic and record.tasks:
            write_map_png(record, record.tasks[-1], directory / "map.png")
    if as_json:
        typer.echo((directory / "summary.json").read_text(encoding="utf-8"))
    else:
        Console().print(console_table(record))
        Console().print(f"report: {report}", soft_wrap=True)
    if not record.summary["completed"]:
        for shortfall in record.summary["shortfalls"]:
            typer.echo(f"swath-sim: not completed: {shortfall}", err=True)
        raise typer.Exit(1)


def _board(endpoint: str | None, keys: Path | None, here: bool) -> Board | None:
    """The board that flight runs on; None if it runs here."""
    if (endpoint is None) != (keys is None):
        raise ConfigError("--flight and --keys belong together: where the board is, and the desk's keys for it")
    if endpoint is None or keys is None:
        return None
    if here:
        raise ConfigError("--flight is on another machine: it goes with neither --in-process nor --tcp")
    return Board(endpoint, keys)


def _chosen(scenario: Scenario, learner: str | None, link: str | None, loss: str | None, seed: int | None) -> Scenario:
    """The scenario with what the command line says instead."""
    if learner is not None and learner not in LEARNERS:
        raise ConfigError(f"--learner {learner}: unknown; known are {', '.join(LEARNERS)}")
    radio = {name: value for name, value in (("uplink", link), ("loss", loss)) if value is not None}
    changes = {
        "radio": dataclasses.replace(scenario.radio, **radio),
        "learner": scenario.learner if learner is None else dataclasses.replace(scenario.learner, name=learner),
        "seed": scenario.seed if seed is None else seed,
    }
    return dataclasses.replace(scenario, **changes)


def _announce(console: Console, plan: Plan) -> None:
    imagery, chips = plan.imagery, sum(each.cells.size for each in plan.overpasses)
    console.print(
        f"[bold]{plan.scenario.name}[/bold]: {number(imagery.n_chips, 'chip')} of {imagery.name}, "
        f"{number(len(imagery.codes), 'municipality', 'municipalities')}, "
        f"{number(len(plan.overpasses), 'imaging overpass', 'imaging overpasses')} ({number(chips, 'cell')}), "
        f"{number(len(plan.contacts), 'pass', 'passes')} in {plan.scenario.duration_h:g} h"
    )
    for note in plan.notes:
        console.print(note)
    for skipped in plan.skipped:
        console.print(f"left out: {skipped}")


class _Display:
    """The progress of a mission: at most ten times a second on a terminal, else a line every tenth of the mission."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=10, transient=True)
        self._shown_s = 0.0
        self._tenths = 0

    def __enter__(self) -> _Display:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: View) -> None:
        if not self._console.is_terminal:
            self._tell(view)
            return
        if wall_s() - self._shown_s < 0.1:
            return
        self._shown_s = wall_s()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(justify="right", style="dim")
        table.add_column()
        hours, total = view.t_s / 3600, view.duration_s / 3600
        filled = round(40 * min(1.0, hours / total))
        table.add_row(
            "mission", f"[green]{'━' * filled}[/green][dim]{'━' * (40 - filled)}[/dim] {hours:.2f} / {total:g} h"
        )
        contact = "[bold green]in contact[/bold green]" if view.in_contact else "out of view"
        table.add_row("passes", f"{view.passes_done} / {view.passes}, {contact}")
        table.add_row(
            "link", f"{view.uplink_bytes:,} B up, {view.downlink_bytes:,} B down, {view.frames_lost} frames lost"
        )
        table.add_row("flight", f"{view.mode}, {view.activity}, {view.chips:,} / {view.chips_planned:,} chips")
        error = f"soft MAE {view.mae_soft:.3f} on test chips" if view.mae_soft is not None else "no model yet"
        table.add_row("task", f"{view.task or '-'}: {error}")
        table.add_row("last", view.last_mark)
        self._live.update(table)

    def _tell(self, view: View) -> None:
        tenths = int(10 * view.t_s / view.duration_s + 1e-9)
        if tenths <= self._tenths:
            return
        self._tenths = tenths
        error = "no model yet" if view.mae_soft is None else f"soft MAE {view.mae_soft:.3f} on test chips"
        done = f"{10 * tenths:3} %: {view.t_s / 3600:.1f} of {view.duration_s / 3600:g} h"
        self._console.print(f"{done}, {view.chips:,} of {view.chips_planned:,} chips, {error}", soft_wrap=True)


@app.command()
def plan(
    scenario: Annotated[str, typer.Argument(help="Built-in scenario or TOML file.")] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="Imagery with labels (npz) in place of the synthetic Earth.")
    ] = None,
) -> None:
    """Print what is planned, in order: passes, imaging, uploads, telecommands, faults."""
    with _errors():
        for line in timeline(make_plan(load_scenario(scenario), data)):
            typer.echo(line)


@app.command()
def scenarios(
    name: Annotated[str | None, typer.Argument(help="Show this one in full, as JSON.")] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Print every field of a scenario file, as Markdown.")
    ] = False,
) -> None:
    """List the built-in scenarios, show one, or print what a scenario file may say."""
    with _errors():
        if fields:
            typer.echo(reference(), nl=False)
            return
        if name is not None:
            typer.echo(json.dumps(dataclasses.asdict(load_scenario(name)), indent=2))
            return
        for each in built_in():
            typer.echo(f"{each:<12} {load_scenario(each).description}")


@world_app.command()
def export(
    chips: Annotated[int, typer.Option(min=40, help="Number of chips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (npz).")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 1,
    municipalities: Annotated[int | None, typer.Option(help="Number of municipalities (one for 50 chips).")] = None,
) -> None:
    """Write a synthetic world as a data file, in the schema of real data."""
    with _errors(), Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("generating", total=None)
        written = world_export.export(
            world_export.world_of(chips, seed, municipalities),
            out,
            chips,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    typer.echo(f"{out}: {written} chips")


@world_app.callback()
def world() -> None:
    """Synthetic worlds."""
