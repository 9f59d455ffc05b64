"""Municipal products that came down, archived: the latest row of each municipality and task, as Parquet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from flight.link.municipal import MunicipalProduct
from ground.files import replaced
from ground.products import NOTHING, ArchiveError

_FORMAT = b"swath-municipalities-1"
_MAX_CELLS = 1 << 24


@dataclass(frozen=True, eq=False)
class MunicipalTable:
    """What is known of one task.

    Attributes:
        classes: their names.
        proportions: float32 (n_municipalities, n_classes), NaN where nothing has come.
        coverage: float32 (n_municipalities,), share of a municipality's area that was predicted.
        versions: int64 (n_municipalities,), label version of each row, -1 where nothing has come.
    """

    classes: tuple[str, ...]
    proportions: NDArray[np.float32]
    coverage: NDArray[np.float32]
    versions: NDArray[np.int64]


class MunicipalArchive:
    """The municipal products received for one region; a row of an earlier label version never replaces a later one."""

    def __init__(self, region_id: int, codes: tuple[str, ...]) -> None:
        self.region_id, self.codes = region_id, codes
        self._tables: dict[int, MunicipalTable] = {}

    @property
    def tasks(self) -> tuple[int, ...]:
        """Ids of the tasks that something is known of."""
        return tuple(sorted(self._tables))

    def table(self, task_id: int) -> MunicipalTable:
        """What is known of a task."""
        return self._tables[task_id]

    def define(self, task_id: int, classes: tuple[str, ...]) -> None:
        """Give the classes of a task their names, before its first product."""
        n = len(self.codes)
        shares = np.full((n, len(classes)), np.nan, np.float32)
        self._tables[task_id] = MunicipalTable(classes, shares, np.zeros(n, np.float32), np.full(n, NOTHING, np.int64))

    def add(self, product: MunicipalProduct) -> int:
        """Take in a product and return the number of rows that it changed; ArchiveError if it does not fit."""
        rows, n_classes = product.proportions.shape
        if (product.region_id, rows) != (self.region_id, len(self.codes)):
            raise ArchiveError(
                f"product has {rows} municipalities of region {product.region_id}, this archive {len(self.codes)} of "
                f"region {self.region_id}"
            )
        if product.task_id not in self._tables:
            self.define(product.task_id, tuple(f"class {i}" for i in range(n_classes)))
        table = self._tables[product.task_id]
        if n_classes != len(table.classes):
            raise ArchiveError(f"product has {n_classes} classes, task {product.task_id} {len(table.classes)}")
        newer = product.present & (product.label_version >= table.versions)
        table.proportions[newer] = product.proportions[newer]
        table.coverage[newer] = product.coverage[newer]
        table.versions[newer] = product.label_version
        return int(newer.sum())

    def write(self, path: Path) -> int:
        """Write ``municipalities.parquet``, a row a municipality and task, whole or not at all; the number of rows.

        Columns are task_id, label_version, code, predicted_share, and one a class name of any task, null where a task
        has no such class. The schema's metadata hold region, codes and classes.
        """
        names = list(dict.fromkeys(f"class:{name}" for table in self._tables.values() for name in table.classes))
        meta = {
            "region_id": self.region_id,
            "codes": list(self.codes),
            "tasks": {str(task): list(table.classes) for task, table in self._tables.items()},
        }
        empty = pa.table({"task_id": pa.array([], pa.int64())})
        table = pa.concat_tables([self._columns(task, names) for task in self.tasks]) if self._tables else empty
        table = table.replace_schema_metadata({_FORMAT: json.dumps(meta).encode()})
        with replaced(path) as partial:
            pq.write_table(table, partial, compression="zstd")
        return int(table.num_rows)

    def _columns(self, task: int, names: list[str]) -> pa.Table:
        table = self._tables[task]
        rows = np.flatnonzero(table.versions >= 0)
        columns = {
            "task_id": pa.array(np.full(len(rows), task), pa.int64()),
            "label_version": pa.array(table.versions[rows], pa.int64()),
            "code": pa.array([self.codes[row] for row in rows], pa.string()),
            "predicted_share": pa.array(table.coverage[rows], pa.float32()),
        }
        own = {f"class:{name}": i for i, name in enumerate(table.classes)}
        for name in names:
            known = name in own
            values = pa.array(table.proportions[rows, own[name]], pa.float32()) if known else None
            columns[name] = values if values is not None else pa.nulls(len(rows), pa.float32())
        return pa.table(columns)

    @classmethod
    def read(cls, path: Path) -> MunicipalArchive:
        """The archive in a file that `write` wrote; ArchiveError if it is none."""
        try:
            table = pq.read_table(path, use_threads=False)
            meta = json.loads((table.schema.metadata or {})[_FORMAT])
            archive = cls(int(meta["region_id"]), tuple(map(str, meta["codes"])))
            index = {code: i for i, code in enumerate(archive.codes)}
            for key, classes in meta["tasks"].items():
                if len(classes) * len(archive.codes) > _MAX_CELLS:
                    raise ValueError(f"{len(archive.codes)} x {len(classes)} proportions")
                archive.define(int(key), tuple(classes))
                of_task = table.filter(pa.compute.equal(table["task_id"], int(key)))
                rows = np.array([index[code] for code in of_task["code"].to_pylist()], np.int64)
                known = archive._tables[int(key)]
                known.versions[rows] = of_task["label_version"].to_numpy()
                known.coverage[rows] = of_task["predicted_share"].to_numpy()
                for i, name in enumerate(classes):
                    known.proportions[rows, i] = of_task[f"class:{name}"].to_numpy()
        except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, pa.ArrowException) as error:
            raise ArchiveError(f"{path}: is not an archive of municipal products: {error}") from None
        return archive


def is_municipal(path: Path) -> bool:
    """Whether a Parquet file says that it is such an archive; ArchiveError if it is no Parquet file."""
    try:
        return _FORMAT in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: is not an archive of products: {error}") from None
