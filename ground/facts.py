"""What files of the link hold and cost, as plain values, and how people and machines are told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flight.link.dictionary import definition
from flight.link.event_log import LoggedEvents
from flight.link.labelset import LabelSet
from flight.link.municipal import Header
from flight.link.parcel import Model, Update, digest
from flight.link.product import Product
from flight.link.region import Region
from ground.datasets import NpzImagery
from ground.municipal import MunicipalArchive
from ground.products import ProductArchive

UPLINK_PRESETS_BPS = {
    "vhf-1k2": 1_200,
    "uhf-9k6": 9_600,
    "sband-32k": 32_000,
    "sband-64k": 64_000,
    "sband-256k": 256_000,
}
EFFICIENCY = 0.7  # share of the bit rate that is left for files after headers, repeats and turnaround


def show(title: str, facts: dict[str, Any], as_json: bool) -> None:
    """Print facts as a table of two columns, or as one JSON object. A dict within makes a row an entry."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(title)
    table = Table(show_header=False)
    for name, value in facts.items():
        for key, entry in value.items() if isinstance(value, dict) else [("", value)]:
            label = f"{name} {key}".replace("_", " ").strip()
            text = f"{entry:,.4g}" if isinstance(entry, float) else ", ".join(map(str, np.atleast_1d(entry).tolist()))
            table.add_row(escape(label), escape(text))
    Console().print(table)


def airtime_s(n_bytes: int) -> dict[str, float]:
    """Seconds that a file takes at each uplink preset."""
    return {name: round(8 * n_bytes / (bps * EFFICIENCY), 2) for name, bps in UPLINK_PRESETS_BPS.items()}


def label_facts(data: bytes, label_set: LabelSet) -> dict[str, Any]:
    """What a packed label set holds and how long it takes to send."""
    rows = int((~label_set.missing).sum())
    return {
        "bytes": len(data),
        "region_id": label_set.region_id,
        "task_id": label_set.task_id,
        "version": label_set.version,
        "activate": label_set.activate,
        "classes": list(label_set.classes),
        "rows": rows,
        "missing_rows": int(label_set.missing.sum()),
        "levels": label_set.levels,
        "bits_a_row": round(8 * len(data) / rows, 1) if rows else None,
        "airtime_s": airtime_s(len(data)),
    }


def region_facts(data: bytes, region: Region) -> dict[str, Any]:
    """What a packed region holds and how long it takes to send."""
    chips = int((region.bags[:, 0] >= 0).sum())
    return {
        "bytes": len(data),
        "region_id": region.region_id,
        "rows": region.rows,
        "columns": region.cols,
        "municipalities": len(region.codes),
        "first_codes": list(region.codes[:5]),
        "chips": chips,
        "chips_on_borders": int((region.bags[:, 1] >= 0).sum()),
        "bits_a_chip": round(8 * len(data) / chips, 2) if chips else None,
        "airtime_s": airtime_s(len(data)),
    }


def product_facts(data: bytes, product: Product) -> dict[str, Any]:
    """What a packed product holds."""
    return {
        "bytes": len(data),
        "region_id": product.region_id,
        "task_id": product.task_id,
        "label_version": product.label_version,
        "model_digest": product.model_digest.hex(),
        "chips": len(product.cells),
        "block": product.block,
        "classes": product.n_classes,
        "levels": product.levels,
        "bytes_a_chip": round(len(data) / len(product.cells), 2),
        "mean_share": {f"class {i}": round(float(m), 4) for i, m in enumerate(product.proportions.mean(0))},
    }


def municipal_facts(data: bytes, header: Header) -> dict[str, Any]:
    """What a municipal product says of itself; its table takes the region's map to be read."""
    return {
        "bytes": len(data),
        "region_id": header.region_id,
        "task_id": header.task_id,
        "label_version": header.label_version,
        "municipalities": header.rows,
        "classes": header.n_classes,
        "levels": header.levels,
        "bytes_a_municipality": round(len(data) / header.rows, 2),
    }


def municipal_archive_facts(archive: MunicipalArchive) -> dict[str, Any]:
    """What an archive of municipal products holds, by task."""
    facts: dict[str, Any] = {"region_id": archive.region_id, "municipalities": len(archive.codes)}
    for task in archive.tasks:
        table = archive.table(task)
        known = table.versions >= 0
        facts[f"task_{task}"] = {
            "classes": list(table.classes),
            "rows": int(known.sum()),
            "label_versions": np.unique(table.versions[known]).tolist(),
        }
    return facts


def model_facts(data: bytes, model: Model) -> dict[str, Any]:
    """What a model file holds; its digest is the one that events and products show."""
    return {
        "bytes": len(data),
        "learner": model.learner,
        "region_id": model.region_id,
        "task_id": model.task_id,
        "label_version": model.label_version,
        "weights_bytes": len(model.weights),
        "weights_sha256": digest(model.weights).hex(),
    }


def event_log_facts(data: bytes, log: LoggedEvents, as_json: bool) -> dict[str, Any]:
    """What an event log holds: events by name with on-board time and values, a line each unless `as_json`."""
    events = []
    for event in log.events:
        values = {key: value.hex() if isinstance(value, bytes) else value for key, value in event.values.items()}
        severity = definition(event.name)[1].severity
        head = {"serial": values.pop("serial"), "name": event.name, "severity": severity, "t_s": values.pop("t_s")}
        events.append({**head, "values": values})
    facts = {"bytes": len(data), "incarnation": log.incarnation, "made_s": log.made_s, "count": dict(log.counts)}
    if as_json:
        return {**facts, "events": events}
    facts["made_s"] = f"{log.made_s:.3f}"
    return {**facts, "event": {f"{n}": _event_line(event) for n, event in enumerate(events, 1)}}


def _event_line(event: dict[str, Any]) -> str:
    values = "  ".join(f"{key}={value}" for key, value in event["values"].items())
    return f"{event['t_s']:.3f} s  {event['severity']:<7}  {event['name']:<18}  {values}".rstrip()


def update_facts(data: bytes, update: Update) -> dict[str, Any]:
    """What an update file holds and how long it takes to send."""
    return {
        "bytes": len(data),
        "slot": update.slot,
        "version": update.version,
        "content_bytes": len(update.content),
        "sha256": digest(update.content).hex(),
        "airtime_s": airtime_s(len(data)),
    }


def archive_facts(archive: ProductArchive) -> dict[str, Any]:
    """What an archive of products holds, by task."""
    facts: dict[str, Any] = {"region_id": archive.region_id, "grid": [archive.rows, archive.cols]}
    for task in archive.tasks:
        versions = archive.versions(task)
        known = versions[versions >= 0]
        facts[f"task_{task}"] = {
            "classes": list(archive.classes(task)),
            "chips": len(known),
            "label_versions": np.unique(known).tolist(),
        }
    return facts


def dataset_facts(imagery: NpzImagery) -> dict[str, Any]:
    """What a dataset holds."""
    splits = {name: int((imagery.bag_split == i).sum()) for i, name in enumerate(("train", "validation", "test"))}
    return {
        "licence": imagery.licence,
        "chips": imagery.n_chips,
        "chip_shape": list(imagery.chip_shape),
        "grid": [imagery.rows, imagery.cols],
        "geographic": imagery.geographic,
        "municipalities": splits,
        "chips_on_borders": int((imagery.bags[:, 1:] >= 0).any(1).sum()),
        "task": {f"{task.task_id} {task.name}": list(task.class_names) for task in imagery.tasks},
        "missing_rows": {task.name: int(np.isnan(imagery.table(task)[:, 0]).sum()) for task in imagery.tasks},
    }
