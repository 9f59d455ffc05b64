"""What a mission came to: the record for the report, and the summary that others script against."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.lockstep import Lockstep
from sim.mission import Mission, lost_frames
from sim.record import ImagingRecord, MissionRecord, TaskResult
from sim.world import World


def conclude(mission: Mission) -> MissionRecord:
    """Score a mission that has been flown. The scores of the summary are those of the first task that was learnt."""
    plan = mission.plan
    results, examples = [], None
    for task_id, scorer in mission.scorers.items():
        learner = mission.models.get(task_id)
        if learner is None:
            continue
        sent = [labels for labels in plan.sent if labels.task_id == task_id][-1]
        results.append(scorer.result(sent, mission.grid(task_id), learner))
        examples = examples or scorer.examples(learner)
    lockstep = mission.lockstep
    scenario = {**dataclasses.asdict(plan.scenario), "link_preset": str(plan.scenario.radio)}
    if not isinstance(plan.imagery, World):
        del scenario["world"]  # what was not in use was not asked for
    return MissionRecord(
        summary=_summary(mission, results),
        scenario=scenario,
        region_name=plan.imagery.name,
        licence=plan.imagery.licence,
        geographic=plan.imagery.geographic,
        epoch_utc=plan.scenario.epoch().isoformat(),
        duration_s=plan.scenario.duration_s,
        passes=_passes(mission),
        imaging=_imaging(mission),
        samples=mission.samples,
        marks=sorted(mission.marks, key=lambda mark: mark.t_s),
        modes=mission.housekeeping.modes,
        power=mission.housekeeping.power,
        radio=lockstep.report("channel"),
        bytes_by_kind=_bytes_by_kind(lockstep),
        event_counts=lockstep.report("flight")["events"],
        tasks=results,
        municipality_map=_municipality_map(mission),
        examples=examples,
    )


def _summary(mission: Mission, results: list[TaskResult]) -> dict[str, Any]:
    plan, lockstep = mission.plan, mission.lockstep
    flight, channel = lockstep.report("flight"), lockstep.report("channel")
    first = results[0] if results else None
    scores = first.scores if first is not None else {}
    labelled = [labels for labels in plan.sent if first is None or labels.task_id == first.task_id][-1]
    retask = flight["retask"] or {}
    in_packets = lockstep.report("station")["bytes_sent"]
    shortfalls = mission.shortfalls()
    return {
        "scenario": plan.scenario.name,
        "seed": plan.scenario.seed,
        "learner": plan.scenario.learner.name,
        "kernels": flight["kernels"],
        "encoder": flight["encoder"],
        "encoders_missing": flight["events"].get("encoder-missing", 0),
        "data": plan.imagery.name,
        "completed": not shortfalls,
        "shortfalls": shortfalls,
        "n_chips": flight["chips"],
        "n_municipalities": len(plan.region.codes),
        "n_labelled": int((~labelled.missing).sum()),
        "n_test_chips": len(next(iter(mission.scorers.values())).test),
        "n_parameters": mission.models[first.task_id].n_parameters if first is not None else 0,
        "uplink_bytes": channel["up"]["offered"]["bytes"],
        "label_payload_bytes": plan.label_bytes,
        "label_packet_bytes": in_packets.get("label set", 0),
        "region_payload_bytes": plan.region_bytes,
        "region_packet_bytes": in_packets.get("region", 0),
        "downlink_bytes": channel["down"]["offered"]["bytes"],
        "frames_sent": _both_ways(channel, "offered"),
        "frames_lost": lost_frames(channel),
        "frames_damaged": _both_ways(channel, "damaged"),
        "frames_duplicated": _both_ways(channel, "duplicated"),
        "capture": channel["capture"],
        "passes": len(plan.contacts),
        "task": first.name if first is not None else None,
        **{key: scores.get(key, math.nan) for key in ("mae_argmax", "mae_soft", "f1_micro", "iou", "r2_soft")},
        "chip_accuracy": scores.get("chip_accuracy", math.nan),
        **_baselines(first),
        "tasks": [_task(result) for result in results],
        "retask_s": retask.get("t_s"),
        "retask_cpu_s": retask.get("cpu_s"),
        "restarts": mission.restarts,
        "clock": lockstep.report("station")["clock"],
        "modes_s": mission.housekeeping.seconds(plan.scenario.duration_s),
        **_extremes(mission),
        "rates": {name: {"runs": runs, "late": late} for name, (runs, late) in flight["rates"].items()},
        "chips_lost": lockstep.report("camera")["chips_lost"],
        "flight_peak_rss_bytes": flight["peak_rss_bytes"],
        "chips_per_s": flight["chips_per_s"],
        "weights_sha256": flight["weights_sha256"],
        "timings": {
            **mission.timings,
            "retask_wall_s": retask.get("wall_s"),
            "flight_cpu_s": flight["cpu_s"],
            "rates": _wall(flight),
        },
    }


def _extremes(mission: Mission) -> dict[str, float]:
    """The board's worst moments, if there is a board."""
    if not mission.plan.scenario.power.enabled:
        return {}
    board = mission.lockstep.report("board")
    return {name: board[name] for name in ("battery_lowest", "temperature_highest_degc")}


def _wall(flight: dict[str, Any]) -> dict[str, Any]:
    """Wall time of the last flight process's rate groups, against their budgets."""
    walls = flight["rates_wall"].items()
    return {name: {"mean_s": mean, "max_s": most, "overruns": count} for name, (mean, most, count) in walls}


def _both_ways(channel: dict[str, Any], kind: str) -> int:
    return int(channel["up"][kind]["frames"] + channel["down"][kind]["frames"])


def _baselines(first: TaskResult | None) -> dict[str, float]:
    lines = {"mean": "training mean", "own_bag": "own municipality"}
    return {
        f"baseline_{short}_{name}": first.baselines[line][key] if first is not None else math.nan
        for short, line in lines.items()
        for name, key in (("mae", "mae_soft"), ("r2", "r2_soft"))
    }


def _task(result: TaskResult) -> dict[str, Any]:
    return {
        "task_id": result.task_id,
        "name": result.name,
        "n_classes": len(result.class_names),
        **result.scores,
        "mae_soft_received": result.mae_soft_received,
        "baselines": result.baselines,
        "by_split": {name: dataclasses.asdict(score) for name, score in result.by_split.items()},
    }


def _passes(mission: Mission) -> list[Any]:
    lost = [each["lost"] for each in mission.lockstep.report("channel")["passes"]]
    return [dataclasses.replace(p, lost=lost[i]) for i, p in enumerate(mission.plan.contacts)]


def _imaging(mission: Mission) -> list[ImagingRecord]:
    chips = mission.plan.chip_at()
    return [
        ImagingRecord(each.scene, each.start_s, each.end_s, int((chips[each.cells] >= 0).sum()))
        for each in mission.plan.overpasses
    ]


def _municipality_map(mission: Mission) -> NDArray[np.int32]:
    imagery = mission.plan.imagery
    first = np.full((imagery.rows, imagery.cols), -1, np.int32)
    first[imagery.cell[:, 0], imagery.cell[:, 1]] = imagery.bags[:, 0]
    return first


def _bytes_by_kind(lockstep: Lockstep) -> dict[str, dict[str, int]]:
    station = lockstep.report("station")
    return {"uplink": station["bytes_sent"], "downlink": station["bytes_received"]}
