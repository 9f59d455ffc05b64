"""What can be said of a flight segment from outside, on its own machine: its processes, its records, its last words.

It only reads: files of the state directory, and the black box of a running process through its supervisor's descriptor.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack

from flight import last_words, mission_state
from flight.blackbox import SIZE, Snapshot, unpack
from flight.clock import wall_s
from flight.crashes import DIRECTORY, RECORD, CrashLog
from flight.store import StateFormatError, Store


def read(state: Path) -> dict[str, Any]:
    """Everything that is known, JSON types only; what cannot be read is null."""
    crashes = CrashLog.read(state / DIRECTORY / RECORD)
    damaged: list[str] = []
    store = Store(state, lambda damage: damaged.append(f"{damage.name}: {damage.reason}"))
    records = {name: None if (data := store.get(name)) is None else len(data) for name in store.names()}
    words = last_words.read(state / DIRECTORY)
    page = _page(crashes)
    return {
        "supervisor": {"pid": crashes.pid or None, "running": page is not None, **_deaths(crashes)},
        "process": _process(page) if page is not None else None,
        "mission": _mission(store),
        "progress": _progress(store),
        "records": records,
        "damaged": sorted(set(damaged)),
        "last_words": None if words is None else {**asdict(words), "place": words.place},
    }


def _deaths(crashes: CrashLog) -> dict[str, Any]:
    return {
        "starts": crashes.starts,
        "recent_deaths": len(crashes.deaths_s),
        "recent_crashes": len(crashes.crashes_s),
        "last_cause": crashes.last_cause,
    }


def _page(crashes: CrashLog) -> Snapshot | None:
    """The black box of the process that runs; None if none does, or it belongs to somebody else."""
    if not crashes.pid:
        return None
    with contextlib.suppress(OSError, ValueError):
        path = Path(f"/proc/{crashes.pid}/fd/{crashes.blackbox}")
        if "swath-blackbox" not in str(path.readlink()):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ) as page:
                return unpack(page)
        finally:
            os.close(descriptor)
    return None


def _process(page: Snapshot) -> dict[str, Any]:
    return {
        "mode": page.mode,
        "activity": page.activity,
        "incarnation": page.incarnation,
        "mission_time_s": page.t_s,
        "last_ping_s": wall_s() - page.ping_s if page.ping_s else None,
        "rate_group": page.group,
        "events": [[event.t_s, event.name] for event in page.events],
    }


def _mission(store: Store) -> dict[str, Any] | None:
    try:
        state = mission_state.read(store)
    except StateFormatError:
        return None
    if state is None:
        return None
    return {
        "mode": state["mode"][0],
        "mode_cause": state["mode"][1],
        "limits_tripped": state["limits"],
        "task_id": state["task_id"],
        "incarnation": state["incarnation"],
    }


def _progress(store: Store) -> dict[str, Any] | None:
    data = store.get("checkpoint")
    if data is None:
        return None
    progress: dict[str, Any] = msgpack.unpackb(data)["progress"]
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in progress.items()}


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    watch, process, mission, words = (found[name] for name in ("supervisor", "process", "mission", "last_words"))
    out = [f"supervisor   {'process ' + str(watch['pid']) if watch['running'] else 'not running'}"]
    if watch["starts"]:
        ended = f", the last: {watch['last_cause']}" if watch["last_cause"] else ""
        out.append(f"starts       {watch['starts']}; {watch['recent_deaths']} deaths of late{ended}")
    if process is not None:
        ping = "never" if process["last_ping_s"] is None else f"{process['last_ping_s']:.1f} s ago"
        at = f"mission time {process['mission_time_s']:.0f} s"
        out.append(f"flight       mode {process['mode']}, {process['activity']}, {at}, last ping {ping}")
        out += [f"    {t_s:14.3f}  {name}" for t_s, name in process["events"][-5:]]
    if mission is not None:
        why = f" ({mission['mode_cause']})" if mission["mode_cause"] else ""
        tripped = ", ".join(mission["limits_tripped"]) or "none"
        out.append(f"mission      mode {mission['mode']}{why}, task {mission['task_id']}, limits out: {tripped}")
    if words is not None:
        out.append(f"last words   {words['cause']} at {words['place'] or 'unknown'}, mode {words['mode']}")
    if not found["records"]:
        out.append("records      none: no flight process has used this directory as its --state yet")
    for name, size in found["records"].items():
        out.append(f"{name:<12} {'unreadable' if size is None else f'{size:,} bytes'}")
        if name == "checkpoint" and found["progress"] is not None:
            out += [f"    {key} {value}" for key, value in found["progress"].items()]
    return out + [f"damaged      {each}" for each in found["damaged"]]
