"""swath-sim campaign: fly a fault campaign, or one of its missions again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sim.campaign import outcome as missions
from sim.campaign.outcome import Outcome
from sim.campaign.report import write_report
from sim.campaign.run import Results, run, seeds
from sim.campaign.summary import console_table, replay_command, summary
from sim.interrupt import interruptible
from sim.report_summary import write_summary

OUTCOMES = "outcomes.jsonl"


def campaign(
    count: Annotated[int, typer.Option("--missions", min=1, help="How many missions.")] = 300,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of the campaign; it fixes every mission's.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, to fly on what is behind it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the outcomes that are in --out.")] = False,
    replay: Annotated[
        int | None, typer.Option(min=0, help="Fly the mission of this seed alone, and say what happened.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for outcomes and report.")] = Path("runs/campaign"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
) -> None:
    """Fly short missions with faults of every kind, and check after each that nothing was lost.

    Exit code 1 if an invariant was broken.
    """
    with interruptible():
        if replay is not None:
            flown = [_replay(replay, as_json)]
        else:
            flown = _fly(range_of(seed, count), Results(out / OUTCOMES, resume), jobs, scheduler, as_json)
            found = summary(flown, seed)
            report = write_report(flown, found, out)
            write_summary(found, out)
            if as_json:
                typer.echo((out / "summary.json").read_text(encoding="utf-8"))
            else:
                Console().print(console_table(found))
                Console().print(f"report: {report}", soft_wrap=True)
    for each in [outcome for outcome in flown if outcome.broken]:
        typer.echo(f"swath-sim: {replay_command(each.seed)}: {'; '.join(each.broken)}", err=True)
    if any(outcome.broken for outcome in flown):
        raise typer.Exit(1)


def range_of(seed: int, count: int) -> range:
    """The seeds of the missions; a usage error if there are too many."""
    try:
        return seeds(seed, count)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--missions") from None


def _fly(wanted: range, results: Results, jobs: int, scheduler: str | None, quiet: bool) -> list[Outcome]:
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as progress:
        bar = progress.add_task("missions", total=len(wanted), completed=sum(s in results.outcomes for s in wanted))
        failed = 0

        def tell(outcome: Outcome) -> None:
            nonlocal failed
            failed += bool(outcome.broken)
            progress.update(bar, advance=1, description=f"missions, {failed} failed" if failed else "missions")

        return run(wanted, results, jobs, scheduler, tell)


def _replay(seed: int, as_json: bool) -> Outcome:
    """Fly one mission, and print what went wrong in it, what happened, and what came of it."""
    outcome = missions.fly(seed)
    if as_json:
        typer.echo(json.dumps(json.loads(outcome.dump()), indent=2))
        return outcome
    typer.echo(f"mission {seed}: {outcome.recipe}; {'real processes' if outcome.real else 'one process'}")
    for fault in outcome.faults:
        typer.echo(f"  fault     {fault}")
    for line in outcome.trace:
        typer.echo(f"  happened  {line}")
    for kind, took_s in outcome.recoveries:
        typer.echo(f"  heard     {took_s:.1f} s in view after {kind}")
    typer.echo(f"  end       T+{outcome.mission_s:.1f} s, weights {outcome.weights_sha256[:16] or 'none'}")
    for text in outcome.broken or ["every invariant held"]:
        typer.echo(f"  verdict   {text}")
    return outcome
