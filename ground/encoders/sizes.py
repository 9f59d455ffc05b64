"""What an encoder takes: parameters, products, memory, and bytes on the link."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.encoder.file import EncoderFile
from flight.link import parcel
from flight.link.parcel import Update
from ground.encoders.frozen import Frozen, FrozenError
from ground.facts import airtime_s
from ground.npz import NpzFile

SLOT = "encoder"
_CALIBRATION_CHIPS, _SEED = 256, 0


def read_chips(path: Path, most: int | None = None, training: bool = False) -> NDArray[np.uint8]:
    """Chips (n, height, width, bands) of an npz file; a seeded choice of `most`, of the training split if `training`.

    Labels are not looked at.
    """
    file = NpzFile(path)
    chips = file.take("chips", "u", None, None, None, None)
    if training and "split" in file:
        chips = chips[file.take("split", "iu", len(chips)) == 0]
    if most is not None and len(chips) > most:
        chosen = np.random.Generator(np.random.PCG64(_SEED)).choice(len(chips), most, replace=False)
        chips = chips[np.sort(chosen)]
    return chips


def calibration_chips(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """The chips that an encoder is calibrated on: 256, from each file as many; FrozenError if shapes differ."""
    found = [read_chips(path, _CALIBRATION_CHIPS // len(paths), training=True) for path in paths]
    for path, chips in zip(paths, found, strict=True):
        if chips.shape[1:] != found[0].shape[1:]:
            raise FrozenError(f"{path}: chips of {chips.shape[1:]}; those of {paths[0]} are {found[0].shape[1:]}")
    return np.concatenate(found)


def layer_facts(frozen: Frozen, side: int) -> dict[str, Any]:
    """Layer by layer, for chips of this side: kernel, output, parameters and products."""
    shapes = frozen.shapes(side, side)
    facts: dict[str, str] = {}
    for i, (layer, (rows, cols, channels)) in enumerate(zip(frozen.layers, shapes[1:], strict=True)):
        size, macs = layer.kernel.shape[0], rows * cols * layer.kernel.size
        kind = "depthwise" if layer.groups > 1 else "convolution"
        also = ", ".join(["ReLU"] * layer.relu + [f"adds {layer.add}"] * (layer.add is not None))
        facts[f"{i}"] = (
            f"{kind} {size} x {size} / {layer.stride} to {rows} x {cols} x {channels}"
            f"{f', {also}' if also else ''}: {layer.kernel.size + layer.bias.size:,} parameters, {macs:,} products"
        )
    return facts


def frozen_facts(frozen: Frozen, side: int) -> dict[str, Any]:
    """What a frozen encoder is."""
    shapes = frozen.shapes(side, side)
    macs = sum(r * c * layer.kernel.size for layer, (r, c, _) in zip(frozen.layers, shapes[1:], strict=True))
    return {
        "name": frozen.name,
        "digest": frozen.digest,
        "bands": list(frozen.bands),
        "chip": list(shapes[0]),
        "grid": list(shapes[-1]),
        "parameters": frozen.parameters,
        "macs": macs,
        "peak_activation_bytes_int8": _peak(frozen, shapes),
        "layer": layer_facts(frozen, side),
        "trained": dict(frozen.trained),
    }


def _peak(frozen: Frozen, shapes: list[tuple[int, int, int]]) -> int:
    """Greatest sum of a layer's input, output, and outputs that are still to be added, a byte a value."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    peak = 0
    for i in range(len(frozen.layers)):
        held = {later.add + 1 for later in frozen.layers[i:] if later.add is not None and later.add < i} | {i, i + 1}
        peak = max(peak, sum(sizes[j] for j in held))
    return peak


def file_facts(file: EncoderFile) -> dict[str, Any]:
    """What a file that flies is, and what it takes."""
    header, graph = file.header, file.graph
    coded = len(parcel.pack_update(Update(SLOT, 1, file.data)))
    operators = [operator.name for operator in graph.operators]
    return {
        "name": header.name,
        "format": graph.form,
        "precision": header.precision,
        "digest": file.digest,
        "frozen": header.frozen,
        "bands": list(header.bands),
        "chip": list(header.chip),
        "grid": list(header.grid),
        "macs": graph.macs,
        "weights_bytes": graph.weights,
        "peak_activation_bytes": graph.peak,
        "operators": {name: operators.count(name) for name in sorted(set(operators))},
        "bytes": len(file.data),
        "update_bytes": coded,
        "airtime_s": airtime_s(coded),
        "trained": header.trained,
    }


def check_side(frozen: Frozen, side: int) -> None:
    """FrozenError unless chips of this side fit the encoder."""
    if side % frozen.stride:
        raise FrozenError(f"chips of {side} pixels; a side is a multiple of {frozen.stride}")
