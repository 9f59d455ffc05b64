"""A frozen encoder at work: chips in, embedding grids out, one chip at a time in one thread."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from flight.encoder.file import EncoderFile, Limits, known_chips
from flight.encoder.graph import EncoderError
from flight.encoder.runtimes import AUTO, Run, start

TOLERANCE = 16  # counts of 255 from `low` to `top` that a known answer may be off: tflite-runtime rounds its own way


class Encoder:
    """What learners see chips through (`flight.learn.grid.Encoder`).

    What it says of a chip depends on that chip alone: chips are run one by one, whatever they come together with.

    Attributes:
        file: that it runs.
        runtime: name and version of what runs it.
    """

    def __init__(self, file: EncoderFile, run: Run, runtime: str) -> None:
        self.file, self.runtime, self._run = file, runtime, run
        self._first = b""  # SHA-256 of what it said of the known chips when it started
        header = file.header
        self._chip_shape, self._grid = header.chip, header.grid
        self._low, self._top = np.array(header.low, np.float32), np.array(header.top, np.float32)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, with the place of the digest blank; hexadecimal."""
        return self.file.digest

    @property
    def chip_shape(self) -> tuple[int, int, int]:
        """(height, width, bands) of the chips that it takes."""
        return self._chip_shape

    @property
    def grid(self) -> tuple[int, int, int]:
        """(rows, cols, width) of a chip's embedding."""
        return self._grid

    @property
    def low(self) -> NDArray[np.float32]:
        """(width,), the least value of each component that 8 bits are to hold."""
        return self._low

    @property
    def top(self) -> NDArray[np.float32]:
        """(width,), the greatest."""
        return self._top

    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, rows, cols, width) of `chips`, uint8 (n, height, width, bands).

        ValueError for other chips, EncoderError if the runtime fails or gives what is no number.
        """
        if chips.dtype != np.uint8 or chips.shape[1:] != self._chip_shape:
            raise ValueError(f"chips are {chips.dtype} {chips.shape}; the encoder takes uint8 (n, {self._chip_shape})")
        made = np.empty((len(chips), *self._grid), np.float32)
        for i in range(len(chips)):
            try:
                made[i] = self._run(chips[i : i + 1])[0]
            except (RuntimeError, ValueError) as error:
                raise EncoderError(f"{self.runtime} fails: {error}") from error
        if not np.isfinite(made).all():
            raise EncoderError(f"{self.runtime}: an embedding has values that are no numbers")
        return made

    def check_answers(self) -> None:
        """EncoderError if what it says of the known chips is not what it should be."""
        header = self.file.header
        grids = self(known_chips(self._chip_shape))
        off = max(
            abs(found - expected)
            for grid, answer in zip(grids, header.answers, strict=True)
            for row, wanted in zip(header.counts(grid), answer, strict=True)
            for found, expected in zip(row, wanted, strict=True)
        )
        if off > TOLERANCE:
            raise EncoderError(f"{self.runtime}: a known answer is off by {off} of 255; allowed are {TOLERANCE}")
        self._first = hashlib.sha256(grids.tobytes()).digest()

    def intact(self) -> bool:
        """Whether it still says of the known chips what it said when it started, to the bit, and its file is whole."""
        try:
            self.file.check_digest()
            return hashlib.sha256(self(known_chips(self._chip_shape)).tobytes()).digest() == self._first
        except EncoderError:
            return False


def open_encoder(data: bytes, runtime: str = AUTO, limits: Limits | None = None) -> Encoder:
    """The encoder in the bytes of a file, checked, started and tried on known chips; EncoderError if it is unfit."""
    file = EncoderFile.parse(data, limits)
    encoder = Encoder(file, *start(file.graph.form, data, runtime))
    encoder.check_answers()
    return encoder
