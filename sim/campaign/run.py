"""Running a campaign: which missions are left, on which cores they fly, and the file of outcomes that grows by lines.

With one job they fly in this process; with more, on local cores through Dask; with the address of a Dask scheduler,
on whatever is behind it. An outcome is appended as soon as it is there, so a campaign that was stopped goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sim.campaign.outcome import Outcome, fly

SEEDS_A_CAMPAIGN = 1_000_000
BATCH = 4  # missions that a worker is given at once
BATCHES_AHEAD = 3  # for each worker, so that none waits


def seeds(campaign_seed: int, missions: int) -> range:
    """The seeds of the missions of a campaign; ValueError if it has more than it has seeds for."""
    if not 0 < missions <= SEEDS_A_CAMPAIGN:
        raise ValueError(f"{missions} missions: a campaign has 1 to {SEEDS_A_CAMPAIGN}")
    return range(campaign_seed * SEEDS_A_CAMPAIGN, campaign_seed * SEEDS_A_CAMPAIGN + missions)


class Results:
    """Outcomes in a JSON-lines file; a last line that was cut short does not count, and is cut off."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.outcomes: dict[int, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)
        if path.exists():
            self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                outcome = Outcome.load(line)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from error
            self.outcomes[outcome.seed] = outcome

    def add(self, outcome: Outcome) -> None:
        """Append an outcome."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(outcome.dump() + "\n")
        self.outcomes[outcome.seed] = outcome


def run(
    wanted: Iterable[int],
    results: Results,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Fly the missions of `wanted` that `results` lacks; all outcomes of `wanted`, in the order of their seeds."""
    wanted = list(wanted)
    left = [seed for seed in wanted if seed not in results.outcomes]
    flown = map(fly, left) if jobs == 1 and scheduler is None else _through_dask(left, jobs, scheduler)
    for outcome in flown:
        results.add(outcome)
        progress(outcome)
    return [results.outcomes[seed] for seed in wanted]


def _fly_all(batch: list[int]) -> list[Outcome]:
    return [fly(seed) for seed in batch]


def _through_dask(left: list[int], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    from distributed import as_completed

    batches = iter([left[i : i + BATCH] for i in range(0, len(left), BATCH)])
    with _client(jobs, scheduler) as client:
        n_workers = max(1, len(client.scheduler_info()["workers"]))
        first = [client.submit(_fly_all, batch, pure=False) for batch in islice(batches, BATCHES_AHEAD * n_workers)]
        done = as_completed(first, loop=client.loop)
        for future in done:
            for batch in islice(batches, 1):
                done.add(client.submit(_fly_all, batch, pure=False))
            yield from future.result()


@contextmanager
def _client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client: of the scheduler at that address, or of as many processes on this machine."""
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with Client(scheduler, set_as_default=False) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
