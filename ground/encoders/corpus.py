"""Unlabelled chips to train on, from npz files or any stream of chips."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ground.npz import DatasetError, NpzFile

MIN_CHIPS = 64
MIN_SIDE_PX, MAX_SIDE_PX, MAX_BANDS = 32, 512, 13
_LEAST_STD = 1.0  # digital numbers


@dataclass(frozen=True, eq=False)
class Corpus:
    """Chips uint8 (n, height, width, bands), none of them with a label.

    Raises:
        DatasetError: if `chips` is no such array, or too few or too small to learn from; `name` is in its message.
    """

    chips: NDArray[np.uint8]
    name: str = "chips"

    def __post_init__(self) -> None:
        chips = self.chips
        if chips.ndim != 4 or chips.dtype != np.uint8:
            raise DatasetError(f"{self.name}: {chips.dtype} {chips.shape}; expected uint8 (n, height, width, bands)")
        n, height, width, bands = chips.shape
        if n < MIN_CHIPS:
            raise DatasetError(f"{self.name}: {n} chips; an encoder needs at least {MIN_CHIPS}, and better thousands")
        if not (MIN_SIDE_PX <= min(height, width) <= max(height, width) <= MAX_SIDE_PX) or height % 8 or width % 8:
            raise DatasetError(
                f"{self.name}: chips of {height} x {width} pixels; expected multiples of 8"
                f" from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
            )
        if not 1 <= bands <= MAX_BANDS:
            raise DatasetError(f"{self.name}: {bands} bands; expected 1 to {MAX_BANDS}")
        if not (self.std > _LEAST_STD).all():
            flat = np.flatnonzero(self.std <= _LEAST_STD).tolist()
            raise DatasetError(
                f"{self.name}: bands {flat} are the same everywhere; there is nothing to learn from them"
            )

    @property
    def bands(self) -> int:
        """Number of bands."""
        return self.chips.shape[3]

    @cached_property
    def mean(self) -> int:
        """The mean of all bands together, as the byte that borders are padded with."""
        return round(float(self.chips.mean(dtype=np.float64)))

    @cached_property
    def std(self) -> NDArray[np.float32]:
        """Standard deviation of each band, float32 (bands,)."""
        return self.chips.std(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the chips, in hex."""
        shape = np.array(self.chips.shape, "<i8").tobytes()
        return hashlib.sha256(shape + np.ascontiguousarray(self.chips).tobytes()).hexdigest()


class Part(StrEnum):
    """Which chips of files that have an array `split`."""

    train = "train"
    validation = "validation"
    test = "test"
    all = "all"


def read_corpus(paths: Iterable[Path], part: Part = Part.train) -> Corpus:
    """Chips of all `paths`, npz files with an array `chips`; of those with an array `split`, only those of `part`.

    Raises:
        DatasetError: if a file cannot be read or used, or files hold chips of different shapes.
    """
    parts: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for path in paths:
        file = NpzFile(path)
        chips = file.take("chips", "u", None, None, None, None)
        if part is not Part.all and "split" in file:
            chips = chips[file.within("split", 0, 2, len(chips)) == list(Part).index(part)]
        if parts and chips.shape[1:] != parts[0].shape[1:]:
            raise DatasetError(f"{path}: chips {chips.shape[1:]}, and {names[0]} has {parts[0].shape[1:]}")
        parts.append(chips)
        names.append(str(path))
    if not parts:
        raise DatasetError("no files of chips were given")
    return Corpus(np.concatenate(parts), ", ".join(names))


def gather(stream: Iterable[NDArray[np.uint8]], limit: int, seed: int = 0) -> Corpus:
    """A corpus of up to `limit` chips (height, width, bands) of a stream of any length, each as likely to be kept.

    Vitter 1985, "Random sampling with a reservoir", algorithm R.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    kept: list[NDArray[np.uint8]] = []
    for i, chip in enumerate(stream):
        if kept and chip.shape != kept[0].shape:
            raise DatasetError(f"stream: chip {i} is {chip.shape}, and the first was {kept[0].shape}")
        if len(kept) < limit:
            kept.append(chip.copy())
        elif (at := int(rng.integers(i + 1))) < limit:
            kept[at] = chip.copy()
    if not kept:
        raise DatasetError("stream: no chips came")
    return Corpus(np.stack(kept), "stream")
