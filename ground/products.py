"""What came down, archived: predictions assembled into grids, telemetry as a table, both as Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from flight.link.product import Product
from ground.files import replaced

NOTHING = -1
_MAX_CELLS = 1 << 26
_FORMAT = b"swath-products-1"


class ArchiveError(ValueError):
    """A product that does not belong here, or an archive that cannot be read."""


class ProductArchive:
    """The predictions received for one region, a grid a task; where products overlap, the later label version stays.

    Two products with the same label version: the finer one stays, then the one that was added last. A quick-look fills
    its blocks, sea and all; the filling goes from a block as soon as a chip in it has come.
    """

    def __init__(self, region_id: int, rows: int, cols: int) -> None:
        self.region_id, self.rows, self.cols = region_id, rows, cols
        self._classes: dict[int, tuple[str, ...]] = {}
        self._grids: dict[int, NDArray[np.float32]] = {}
        self._versions: dict[int, NDArray[np.int64]] = {}
        self._blocks: dict[int, NDArray[np.int64]] = {}  # chips along the side of what a cell's value is of; 0 nothing

    @property
    def tasks(self) -> tuple[int, ...]:
        """Ids of the tasks that something is known of."""
        return tuple(sorted(self._classes))

    def classes(self, task_id: int) -> tuple[str, ...]:
        """Names of the classes of a task."""
        return self._classes[task_id]

    def define(self, task_id: int, classes: tuple[str, ...]) -> None:
        """Give the classes of a task their names; ArchiveError if their number contradicts what was received."""
        known = self._classes.get(task_id)
        if known is not None and len(known) != len(classes):
            raise ArchiveError(f"task {task_id} has {len(known)} classes, cannot become {len(classes)}")
        self._classes[task_id] = tuple(classes)
        if task_id not in self._grids:
            self._grids[task_id] = np.full((self.rows * self.cols, len(classes)), np.nan, np.float32)
            self._versions[task_id] = np.full(self.rows * self.cols, NOTHING, np.int64)
            self._blocks[task_id] = np.zeros(self.rows * self.cols, np.int64)

    def add(self, product: Product) -> int:
        """Take in a product and return the number of chips that it changed; ArchiveError if it does not fit."""
        if product.region_id != self.region_id:
            raise ArchiveError(f"product is of region {product.region_id}, this archive of region {self.region_id}")
        block = product.block
        rows, cols = -(-self.rows // block), -(-self.cols // block)
        if product.cells[-1] >= rows * cols:
            raise ArchiveError(f"product has cell {product.cells[-1]}, the grid {rows} x {cols} cells")
        if block > 1 and product.cols != cols:
            raise ArchiveError(f"product has {product.cols} columns of blocks, the grid {cols}")
        task = product.task_id
        if task not in self._classes:
            self.define(task, tuple(f"class {i}" for i in range(product.n_classes)))
        if product.n_classes != len(self._classes[task]):
            raise ArchiveError(f"product has {product.n_classes} classes, task {task} {len(self._classes[task])}")
        cells, source = self._cells(product)
        version, blocks = self._versions[task][cells], self._blocks[task][cells]
        newer = product.label_version > version
        newer |= (product.label_version == version) & ((block <= blocks) | (blocks == 0))
        cells, source = cells[newer], source[newer]
        self._clear_filling(task, cells, product)
        self._grids[task][cells] = product.proportions[source]
        self._versions[task][cells] = product.label_version
        self._blocks[task][cells] = block
        return len(cells)

    def _cells(self, product: Product) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells of the grid that a product says something of, and which of its rows each has."""
        side = np.arange(product.block)
        down, right = np.divmod(product.cells.astype(np.int64), product.cols if product.block > 1 else self.cols)
        row = down[:, None, None] * product.block + side[:, None]
        col = right[:, None, None] * product.block + side
        source = np.broadcast_to(np.arange(len(down))[:, None, None], (len(down), product.block, product.block))
        inside = (row < self.rows) & (col < self.cols)
        return (row * self.cols + col)[inside], source[inside]

    def _clear_filling(self, task: int, cells: NDArray[np.int64], product: Product) -> None:
        """Forget a quick-look, no later than `product`, in the blocks that chips at `cells` have now come for."""
        blocks = self._blocks[task]
        filled = np.flatnonzero((blocks > 1) & (self._versions[task] <= product.label_version))
        if product.block > 1 or not len(filled):
            return
        side = int(blocks[filled[0]])
        wide = -(-self.cols // side)
        of_filled = filled // self.cols // side * wide + filled % self.cols // side
        come = np.isin(of_filled, cells // self.cols // side * wide + cells % self.cols // side)
        gone = filled[come & (blocks[filled] == side)]
        self._grids[task][gone], self._versions[task][gone], blocks[gone] = np.nan, NOTHING, 0

    def grid(self, task_id: int) -> NDArray[np.float32]:
        """Proportions (rows, cols, n_classes) of a task, NaN where nothing was received."""
        return self._grids[task_id].reshape(self.rows, self.cols, -1).copy()

    def versions(self, task_id: int) -> NDArray[np.int64]:
        """Label version (rows, cols) of each prediction, -1 where nothing was received."""
        return self._versions[task_id].reshape(self.rows, self.cols).copy()

    def blocks(self, task_id: int) -> NDArray[np.int64]:
        """Chips along the side of the block (rows, cols) that a value is the mean of: 1, more in a quick-look, or 0."""
        return self._blocks[task_id].reshape(self.rows, self.cols).copy()

    def write(self, path: Path) -> int:
        """Write ``products.parquet``, a row a chip and task, whole or not at all; the number of rows.

        Columns are task_id, label_version, row, col, block (chips along the side of what the values are of: 1, or more
        from a quick-look), and one a class name of any task, null where a task has no such
        class. The schema's metadata hold region, grid and classes.
        """
        names = list(dict.fromkeys(f"class:{name}" for task in self.tasks for name in self._classes[task]))
        tables = [self._table(task, names) for task in self.tasks]
        meta = {
            "region_id": self.region_id,
            "rows": self.rows,
            "cols": self.cols,
            "tasks": {str(task): list(self._classes[task]) for task in self.tasks},
        }
        table = pa.concat_tables(tables) if tables else self._table(None, [])
        table = table.replace_schema_metadata({_FORMAT: json.dumps(meta).encode()})
        with replaced(path) as partial:
            pq.write_table(table, partial, compression="zstd")
        return int(table.num_rows)

    def _table(self, task: int | None, names: list[str]) -> pa.Table:
        version = np.zeros(0, np.int64) if task is None else self._versions[task]
        cells = np.flatnonzero(version >= 0)
        columns = {
            "task_id": pa.array(np.full(len(cells), task or 0), pa.int64()),
            "label_version": pa.array(version[cells], pa.int64()),
            "row": pa.array(cells // self.cols, pa.int32()),
            "col": pa.array(cells % self.cols, pa.int32()),
            "block": pa.array(np.zeros(0) if task is None else self._blocks[task][cells], pa.int16()),
        }
        own = {} if task is None else {f"class:{name}": i for i, name in enumerate(self._classes[task])}
        for name in names:
            values = self._grids[task][cells, own[name]] if task is not None and name in own else None
            columns[name] = pa.nulls(len(cells), pa.float32()) if values is None else pa.array(values, pa.float32())
        return pa.table(columns)

    @classmethod
    def read(cls, path: Path) -> ProductArchive:
        """The archive in a file that `write` wrote; ArchiveError if it is none."""
        try:
            table = pq.read_table(path, use_threads=False)
            meta = json.loads((table.schema.metadata or {})[_FORMAT])
            archive = cls(int(meta["region_id"]), int(meta["rows"]), int(meta["cols"]))
            if not 0 < archive.rows * archive.cols <= _MAX_CELLS:
                raise ValueError(f"a grid of {archive.rows} x {archive.cols} cells")
            keys = [table[name] for name in ("task_id", "label_version", "row", "col", "block")]
            if any(column.null_count for column in keys):
                raise ValueError("a row without task, version or cell")
            task_of, version, row, col, block = (column.to_numpy().astype(np.int64) for column in keys)
            if ((row < 0) | (row >= archive.rows) | (col < 0) | (col >= archive.cols)).any():
                raise ValueError(f"a cell outside the grid of {archive.rows} x {archive.cols}")
            for key, classes in meta["tasks"].items():
                task = int(key)
                archive.define(task, tuple(classes))
                here = np.flatnonzero(task_of == task)
                cells = row[here] * archive.cols + col[here]
                archive._versions[task][cells] = version[here]
                archive._blocks[task][cells] = block[here]
                for i, name in enumerate(classes):
                    archive._grids[task][cells, i] = table[f"class:{name}"].to_numpy()[here]
        except (OSError, KeyError, ValueError, TypeError, IndexError, pa.ArrowException) as error:
            raise ArchiveError(f"{path}: is not an archive of products: {error}") from None
        return archive


class TelemetryArchive:
    """``telemetry.parquet``, a row a packet: t [mission s], kind, name, and the fields as JSON text.

    Rows are buffered and written in groups to a file beside `path`, which takes its place in `close`. As a context
    manager it closes itself, and leaves `path` as it was if the block ends with an exception.
    """

    _SCHEMA = pa.schema([("t", pa.float64()), ("kind", pa.string()), ("name", pa.string()), ("fields", pa.string())])

    def __init__(self, path: Path, group_rows: int = 4096) -> None:
        self.rows = 0
        self._group_rows = group_rows
        self._buffer: list[dict[str, Any]] = []
        self._file = replaced(path)
        self._writer = pq.ParquetWriter(self._file.__enter__(), self._SCHEMA, compression="zstd")

    def append(self, t: float, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        """Add a packet; `fields` hold JSON types only."""
        text = json.dumps(fields, sort_keys=True, allow_nan=False)
        self._buffer.append({"t": t, "kind": kind, "name": name, "fields": text})
        self.rows += 1
        if len(self._buffer) >= self._group_rows:
            self._flush()

    def close(self) -> None:
        """Write what is buffered and put the file in its place."""
        self._flush()
        self._writer.close()
        self._file.__exit__(None, None, None)

    def _flush(self) -> None:
        if self._buffer:
            self._writer.write_table(pa.Table.from_pylist(self._buffer, schema=self._SCHEMA))
            self._buffer.clear()

    def __enter__(self) -> TelemetryArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._writer.close()
            self._file.__exit__(kind, error, trace)


def read_telemetry(path: Path) -> list[tuple[float, str, str, dict[str, Any]]]:
    """The packets in a telemetry archive, in the order in which they were added; ArchiveError if it is none."""
    try:
        rows = pq.read_table(path, schema=TelemetryArchive._SCHEMA, use_threads=False).to_pylist()
        return [(row["t"], row["kind"], row["name"], json.loads(row["fields"])) for row in rows]
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: is not an archive of telemetry: {error}") from None
