"""Chips made a block at a time and kept in a working directory, so that an import that was stopped goes on.

A block's file is named by a digest of everything that its content follows from: options, grid, limits of the scale, and
size and time of each file that lies over it. A file that was replaced makes its own blocks again and no others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.datasets import UNKNOWN
from ground.files import replaced
from ground.importer.mosaic import Mosaic, Window
from ground.importer.scaling import Scale
from ground.importer.truth import Truth

SIDE = 16  # chips of a block each way: some 30 MB while it is made
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Block:
    """Chips of a block, in the order of their cells.

    Attributes:
        cells: int64 (n,), row x columns + column.
        chips: uint8 (n, side, side, bands); pixels that are not known have the mean of the chip's others.
        labels: uint8 (n, side, side), 255 unknown.
        thumbs: uint8 (n, t, t, bands), the chips made small.
    """

    cells: NDArray[np.int64]
    chips: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    thumbs: NDArray[np.uint8]


def make_block(
    window: Window,
    owned: NDArray[np.bool_],
    mosaic: Mosaic,
    truth: Truth | None,
    scale: Scale,
    min_valid: float,
    thumb_px: int,
) -> Block:
    """The chips of a window that belong to somebody, by `owned` (rows, cols), and are known well enough."""
    side = mosaic.warp.lattice.chip_px
    here = owned[window.row : window.row + window.rows, window.col : window.col + window.cols]
    values, known = mosaic.read(window)
    pixels, valid = _chips(scale.apply(values), side), _chips(known[None], side)[..., 0]
    share = valid.mean((2, 3))
    rows, cols = np.nonzero(here & (share >= min_valid) & (share > 0))
    chips, valid = pixels[rows, cols], valid[rows, cols]
    for i in np.flatnonzero(~valid.all((1, 2))):
        chips[i][~valid[i]] = np.rint(chips[i][valid[i]].mean(0))
    if truth is None:
        labels = np.full(valid.shape, UNKNOWN, np.uint8)
    else:
        labels = np.where(valid, _chips(truth.read(window)[None], side)[rows, cols][..., 0], UNKNOWN).astype(np.uint8)
    n_cols = owned.shape[1]
    cells = (rows + window.row).astype(np.int64) * n_cols + cols + window.col
    t = thumb_px
    small = chips.reshape(len(chips), t, side // t, t, side // t, -1).mean((2, 4))
    return Block(cells, chips, labels, np.rint(small).astype(np.uint8))


def _chips(image: NDArray[Any], side: int) -> NDArray[Any]:
    """An image (bands, height, width) as chips (rows, cols, side, side, bands)."""
    bands, height, width = image.shape
    return image.reshape(bands, height // side, side, width // side, side).transpose(1, 3, 2, 4, 0)


def windows(owned: NDArray[np.bool_]) -> list[Window]:
    """Blocks of the grid in which a chip belongs to somebody."""
    rows, cols = owned.shape
    found = []
    for row in range(0, rows, SIDE):
        for col in range(0, cols, SIDE):
            window = Window(row, col, min(SIDE, rows - row), min(SIDE, cols - col))
            if owned[row : row + window.rows, col : col + window.cols].any():
                found.append(window)
    return found


class Work:
    """The working directory of an import, beside what it writes; there only while it has a block."""

    def __init__(self, path: Path, recipe: dict[str, Any]) -> None:
        self.path = path
        self._recipe = json.dumps({"format": FORMAT, **recipe}, sort_keys=True, default=str)

    def name(self, window: Window, files: Sequence[Path]) -> Path:
        """The file of a block that follows from `files`."""
        digest = hashlib.sha256(self._recipe.encode())
        digest.update(json.dumps([asdict(window), stamps(files)]).encode())
        return self.path / f"block-{window.row}-{window.col}-{digest.hexdigest()[:24]}.npz"

    def write(self, name: Path, block: Block) -> None:
        """Keep a block, whole or not at all."""
        self.path.mkdir(exist_ok=True)
        with replaced(name) as partial, partial.open("wb") as file:
            np.savez(file, cells=block.cells, chips=block.chips, labels=block.labels, thumbs=block.thumbs)

    def remove(self) -> None:
        """Remove all blocks."""
        if self.path.is_dir():
            shutil.rmtree(self.path)


def read_block(path: Path) -> Block | None:
    """A block that `Work.write` kept; None if there is none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Block(file["cells"], file["chips"], file["labels"], file["thumbs"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def read_cells(path: Path) -> NDArray[np.int64]:
    """Cells of a block that is there."""
    with np.load(path, allow_pickle=False) as file:
        cells: NDArray[np.int64] = file["cells"]
        return cells


def stamps(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of change [ns] of files."""
    found = []
    for path in files:
        stat = path.stat()
        found.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return found
