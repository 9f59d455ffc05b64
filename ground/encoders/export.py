"""A frozen encoder as a file that flies: written, sealed with its digest, and read back as flight reads it."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flight.encoder.file import EncoderFile, Header, known_chips, metadata, sealed
from ground.encoders import onnx, tflite
from ground.encoders.frozen import Floats, Frozen, FrozenError
from ground.encoders.network import LEVELS, Network, in_floats, in_integers


class Form(StrEnum):
    """Formats of files."""

    tflite = "tflite"
    onnx = "onnx"


class Precision(StrEnum):
    """Numbers that a network computes in."""

    int8 = "int8"
    fp32 = "fp32"


def lowered(frozen: Frozen, precision: Precision, chips: NDArray[np.uint8] | None, levels: int = LEVELS) -> Network:
    """The network in this precision; int8 takes calibration chips, uint8 (n, height, width, bands)."""
    if precision is Precision.fp32:
        return in_floats(frozen)
    if chips is None:
        raise FrozenError("int8 needs calibration chips, to see how far activations reach")
    return in_integers(frozen, chips, levels)


def _short(values: Floats) -> tuple[float, ...]:
    """Numbers with as many digits as it takes to tell them from other float32 ones: the metadata fly too."""
    return tuple(float(str(value)) for value in values)


def exported(network: Network, form: Form, height: int, width: int) -> EncoderFile:
    """The file for chips of this size, checked as flight checks it."""
    frozen = network.frozen
    chip, *_, grid = frozen.shapes(height, width)
    header = Header(
        frozen.name, network.precision, frozen.bands, frozen.mean, _short(frozen.std), chip, grid,
        _short(frozen.low), _short(frozen.top), frozen.digest, dict(frozen.trained), (),
    )  # fmt: skip
    answers = [header.counts(each) for each in network.embed(known_chips(chip))]
    told = metadata(Header(**{**vars(header), "answers": answers}))
    write = {Form.tflite: tflite.write, Form.onnx: onnx.write}[form]
    return EncoderFile.parse(sealed(write(network, height, width, told)))
