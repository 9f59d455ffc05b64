"""The station's archive on disk: what came down, as it came, and as Parquet for analysis.

Files are written as they are received, so that the station may tell the spacecraft that it has them; telemetry is
appended line by line. `export` turns all of it into ``products.parquet``, ``municipalities.parquet`` and
``telemetry.parquet``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flight.config import LinkConfig
from flight.link import municipal, product
from flight.link.layout import map_order
from flight.link.region import Region
from ground.files import write_bytes

RECEIVED = "received"
LOG = "telemetry.jsonl"
MAX_LINES = 64


class StationArchive:
    """Implements `ground.station.Archive` in `directory`; opening it again goes on where it was."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / RECEIVED).mkdir(parents=True, exist_ok=True)
        _end_last_line(directory / LOG)
        self._lines: list[str] = []

    def telemetry(self, t_s: float, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """A telemetry packet, event or acknowledgement, received at mission time `t_s`."""
        plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in values.items()}
        self._lines.append(json.dumps([t_s, kind, name, plain]) + "\n")
        if len(self._lines) >= MAX_LINES:
            self.flush()

    def file(self, t_s: float, name: str, data: bytes) -> None:
        """Any file that came down, under the name that it came with (the link allows no paths)."""
        write_bytes(self.directory / RECEIVED / name, data)

    def flush(self) -> None:
        """Append the telemetry received to the log."""
        with (self.directory / LOG).open("a", encoding="utf-8") as log:
            log.writelines(self._lines)
        self._lines.clear()


def _end_last_line(log: Path) -> None:
    """Cut off the beginning of a line that a station has left when it died."""
    if log.exists():
        data = log.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(log, whole)


def product_number(name: str) -> int:
    """The running number that flight gave a product: later ones replace earlier ones."""
    return int(name.rpartition("-")[2])


def export(directory: Path, config: LinkConfig, region: Region, classes: Mapping[int, tuple[str, ...]]) -> None:
    """Write ``products.parquet``, ``municipalities.parquet`` and ``telemetry.parquet`` from an archive in `directory`.

    `region` is the one on board, as decoded: products of another one, and municipal products along another version of
    its map, are left out. `classes` names those of each task.
    """
    # These bring Arrow, which a station that only receives never needs.
    from ground.municipal import MunicipalArchive
    from ground.products import ProductArchive, TelemetryArchive

    products = ProductArchive(region.region_id, region.rows, region.cols)
    towns = MunicipalArchive(region.region_id, region.codes)
    for task_id, names in classes.items():
        products.define(task_id, names)
        towns.define(task_id, names)
    for path in sorted((directory / RECEIVED).glob("product-*"), key=lambda path: product_number(path.name)):
        received = product.unpack(path.read_bytes(), config)
        if received.region_id == products.region_id:
            products.add(received)
    products.write(directory / "products.parquet")
    order = map_order(region)
    for path in sorted((directory / RECEIVED).glob("municipal-*"), key=lambda path: product_number(path.name)):
        data = path.read_bytes()
        header = municipal.read_header(data, config)
        if (header.region_id, header.map_check) == (order.region_id, order.check):
            towns.add(municipal.unpack(data, config, order))
    towns.write(directory / "municipalities.parquet")
    with TelemetryArchive(directory / "telemetry.parquet") as telemetry:
        for line in _whole_lines(directory / LOG):
            telemetry.append(*json.loads(line))


def _whole_lines(log: Path) -> Iterator[str]:
    if log.exists():
        with log.open(encoding="utf-8") as lines:
            yield from (line for line in lines if line.endswith("\n"))
