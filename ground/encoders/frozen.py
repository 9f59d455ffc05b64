"""A frozen encoder: what every recipe ends in and every exporter reads, in plain numpy.

A chip of bytes c becomes x = (c - mean) / std, and x goes through convolutions. Batch norm is folded into them, and the
last one turns features to principal components over cells, whitened, so that an embedding is already standardised.

`mean` is one byte for all bands. Padding is by zeros of x, thus by this byte, and so the normalisation can be folded
into the first layer of a network on bytes exactly: the border is the same in every runtime, in floats and in integers.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.files import replaced
from ground.npz import DatasetError, NpzFile, write_array

FORMAT = 1
MAX_LAYERS, MAX_KERNEL, MAX_CHANNELS, MAX_BANDS, MAX_WIDTH = 64, 15, 1024, 64, 256
MIN_SIDE, MAX_SIDE = 8, 1024
RANGE_SHARE = 0.999  # of calibration cells lie within `low` and `top`
_BATCH = 16  # chips at once; more would only take memory
Floats = NDArray[np.float32]


class FrozenError(DatasetError):
    """A frozen encoder that cannot be: the message names the layer or the field."""


@dataclass(frozen=True)
class Conv:
    """One layer: a convolution, then what is added, then ReLU.

    Attributes:
        kernel: float32 (height, width, channels in / groups, channels out), height and width odd and equal.
        bias: float32 (channels out,).
        stride: 1 to 8, down and across; zeros pad kernel // 2 on every side, so that n cells become ceil(n / stride).
        groups: 1, or the number of channels in (depthwise: channel i makes channels i x m .. i x m + m - 1).
        relu: whether negative values become 0.
        add: index of an earlier layer whose output is added before the ReLU; None without.
    """

    kernel: Floats
    bias: Floats
    stride: int = 1
    groups: int = 1
    relu: bool = True
    add: int | None = None

    def __post_init__(self) -> None:
        for name, ndim in (("kernel", 4), ("bias", 1)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ndim:
                raise FrozenError(f"{name} is not a float32 array of {ndim} axes")
            if not np.isfinite(array).all():
                raise FrozenError(f"{name} has values that are not finite")
        height, width, each, out = self.kernel.shape
        if height != width or height % 2 == 0 or height > MAX_KERNEL:
            raise FrozenError(f"kernel of {height} x {width}; it is square, and odd up to {MAX_KERNEL}")
        if not (each >= 1 and 1 <= out <= MAX_CHANNELS) or self.bias.shape != (out,):
            raise FrozenError(f"kernel {self.kernel.shape} and bias {self.bias.shape} do not fit")
        if not 1 <= self.stride <= 8:
            raise FrozenError(f"stride {self.stride}; expected 1 to 8")
        if self.groups != 1 and (each != 1 or out % self.groups):
            raise FrozenError(f"{self.groups} groups; expected 1, or as many as channels come in")

    @property
    def channels_in(self) -> int:
        """Channels that come in."""
        return self.kernel.shape[2] * self.groups

    @property
    def channels_out(self) -> int:
        """Channels that go out."""
        return self.kernel.shape[3]


@dataclass(frozen=True, eq=False)
class Frozen:
    """An encoder that is trained no more.

    Attributes:
        name: a short name, letters, digits and - _ . only.
        bands: the name of each band, in the order of the chip's last axis.
        mean: the byte that stands for 0, whatever the band, and that borders are padded with.
        std: float32 (bands,), bytes that stand for 1.
        layers: in order; each takes what the one before it makes.
        low, top: float32 (width,), what each component of the embedding reaches on calibration chips (99.9 %).
        trained: how: recipe, digest of the data, seed, and what else is worth knowing, as text and numbers.
    """

    name: str
    bands: tuple[str, ...]
    mean: int
    std: Floats
    layers: tuple[Conv, ...]
    low: Floats
    top: Floats
    trained: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            not self.name
            or len(self.name) > 48
            or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in self.name)
        ):
            raise FrozenError(f"name {self.name!r}; expected up to 48 letters, digits, and - _ .")
        if not 1 <= len(self.bands) <= MAX_BANDS or not all(isinstance(band, str) and band for band in self.bands):
            raise FrozenError(f"bands {self.bands!r}; expected 1 to {MAX_BANDS} names")
        if not 0 <= self.mean <= 255:
            raise FrozenError(f"mean {self.mean}; expected a byte")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise FrozenError(f"{len(self.layers)} layers; expected 1 to {MAX_LAYERS}")
        self._check_layers()
        for name, n in (("std", len(self.bands)), ("low", self.width), ("top", self.width)):
            array = getattr(self, name)
            if array.shape != (n,) or array.dtype != np.float32 or not np.isfinite(array).all():
                raise FrozenError(f"{name} is {array.dtype} {array.shape}; expected finite float32 ({n},)")
        if not (self.std > 0).all():
            raise FrozenError("std has values that are not positive")
        if not (self.low < self.top).all():
            raise FrozenError("low is not below top in every component")
        if not all(isinstance(value, str | int | float) for value in self.trained.values()):
            raise FrozenError("trained holds what is neither text nor a number")

    def _check_layers(self) -> None:
        channels, strides = len(self.bands), [1]
        for i, layer in enumerate(self.layers):
            if layer.channels_in != channels:
                raise FrozenError(f"layer {i} takes {layer.channels_in} channels, and {channels} come in")
            channels = layer.channels_out
            strides.append(strides[-1] * layer.stride)
            if layer.add is None:
                continue
            if not 0 <= layer.add < i:
                raise FrozenError(f"layer {i} adds layer {layer.add}, which is not an earlier one")
            other = self.layers[layer.add]
            if (other.channels_out, strides[layer.add + 1]) != (channels, strides[i + 1]):
                raise FrozenError(f"layer {i} adds layer {layer.add}, which has another shape")
        last = self.layers[-1]
        if last.kernel.shape[:2] != (1, 1) or last.relu or last.groups != 1 or last.add is not None or last.stride != 1:
            raise FrozenError("the last layer is not a plain 1 x 1 convolution without ReLU")
        if channels > MAX_WIDTH:
            raise FrozenError(f"embeddings of {channels}; at most {MAX_WIDTH}")

    @property
    def width(self) -> int:
        """Components of an embedding."""
        return self.layers[-1].channels_out

    @property
    def stride(self) -> int:
        """Pixels from one cell of the embedding grid to the next."""
        return int(np.prod([layer.stride for layer in self.layers]))

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(layer.kernel.size + layer.bias.size for layer in self.layers)

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(rows, columns, channels) of the chip and of what each layer makes of it; FrozenError if it does not fit."""
        if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
            raise FrozenError(f"chips of {height} x {width} pixels; expected {MIN_SIDE} to {MAX_SIDE} a side")
        if height % self.stride or width % self.stride:
            raise FrozenError(f"chips of {height} x {width} pixels; a side is a multiple of {self.stride}")
        found = [(height, width, len(self.bands))]
        for layer in self.layers:
            rows, cols, _ = found[-1]
            found.append((-(-rows // layer.stride), -(-cols // layer.stride), layer.channels_out))
        return found

    def normalised(self, chips: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the first layer takes: (chip - mean) / std, (n, height, width, bands)."""
        if chips.ndim != 4 or chips.dtype != np.uint8 or chips.shape[-1] != len(self.bands):
            raise FrozenError(
                f"chips are {chips.dtype} {chips.shape}; expected uint8 (n, height, width, {len(self.bands)})"
            )
        return (chips.astype(np.float64) - self.mean) / self.std

    def outputs(self, chips: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """What each layer makes of uint8 chips (n, height, width, bands): the oracle of all runtimes, in float64."""
        self.shapes(*chips.shape[1:3])
        made: list[NDArray[np.float64]] = []
        x = self.normalised(chips)
        for layer in self.layers:
            x = convolved(x, layer)
            if layer.add is not None:
                x += made[layer.add]
            if layer.relu:
                np.maximum(x, 0, out=x)
            made.append(x)
        return made

    def embed(self, chips: NDArray[np.uint8]) -> Floats:
        """Embedding grids, float32 (n, rows, cols, width), of uint8 chips (n, height, width, bands)."""
        parts = [self.outputs(chips[i : i + _BATCH])[-1].astype(np.float32) for i in range(0, len(chips), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.shapes(*chips.shape[1:3])[-1]), np.float32)

    def calibrated(self, chips: NDArray[np.uint8]) -> Frozen:
        """The same encoder with `low` and `top` from these chips."""
        grid = self.embed(chips).reshape(-1, self.width)
        ends = np.quantile(grid, [(1 - RANGE_SHARE) / 2, (1 + RANGE_SHARE) / 2], axis=0).astype(np.float32)
        return replace(self, low=ends[0], top=np.maximum(ends[1], np.nextafter(ends[0], np.float32(np.inf))))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that changes an embedding, and of what it is called and how it was trained."""
        sha = hashlib.sha256(_header(self))
        for array in _arrays(self).values():
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return sha.hexdigest()

    def write(self, path: Path) -> None:
        """Write an npz file, whole or not at all; equal encoders make equal files."""
        arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(_header(self), np.uint8), **_arrays(self)}
        arrays["sha256"] = np.frombuffer(bytes.fromhex(self.digest), np.uint8)
        with replaced(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, array in arrays.items():
                write_array(archive, name, array.shape, array.dtype, [array])

    @classmethod
    def read(cls, path: Path) -> Frozen:
        """The encoder in a file; FrozenError names the file and says what is wrong with it."""
        try:
            return _read(NpzFile(path))
        except FrozenError as error:
            raise FrozenError(f"{path}: {error}") from None


def convolved(x: NDArray[np.float64], layer: Conv) -> NDArray[np.float64]:
    """A layer's convolution and bias alone, a new array (n, rows, cols, channels out); one product a kernel place."""
    size, step = layer.kernel.shape[0], layer.stride
    pad = size // 2
    rows, cols = -(-x.shape[1] // step), -(-x.shape[2] // step)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    made = np.broadcast_to(layer.bias.astype(np.float64), (len(x), rows, cols, layer.channels_out)).copy()
    kernel = layer.kernel.astype(np.float64)
    for i in range(size):
        for j in range(size):
            seen = padded[:, i : i + step * rows : step, j : j + step * cols : step]
            if layer.groups == 1:
                made += seen @ kernel[i, j]
            else:
                made += np.repeat(seen, layer.channels_out // layer.groups, axis=-1) * kernel[i, j, 0]
    return made


def _header(frozen: Frozen) -> bytes:
    layers = [{f.name: getattr(each, f.name) for f in fields(each)[2:]} for each in frozen.layers]
    plain = {"format": FORMAT, "name": frozen.name, "bands": list(frozen.bands), "mean": frozen.mean}
    return json.dumps({**plain, "trained": dict(frozen.trained), "layers": layers}, sort_keys=True).encode()


def _arrays(frozen: Frozen) -> dict[str, Floats]:
    named = {"std": frozen.std, "low": frozen.low, "top": frozen.top}
    for i, layer in enumerate(frozen.layers):
        named |= {f"kernel{i}": layer.kernel, f"bias{i}": layer.bias}
    return named


def _read(file: NpzFile) -> Frozen:
    try:
        header = json.loads(file.take("header", "u", None).tobytes())
        if header["format"] != FORMAT:
            raise FrozenError(f"format {header['format']!r}; this software reads {FORMAT}")
        layers = tuple(
            Conv(file.take(f"kernel{i}", "f", None, None, None, None), file.take(f"bias{i}", "f", None), **each)
            for i, each in enumerate(header["layers"][: MAX_LAYERS + 1])
        )
        std, low, top = (file.take(name, "f", None) for name in ("std", "low", "top"))
        bands = tuple(header["bands"])
        frozen = Frozen(header["name"], bands, header["mean"], std, layers, low, top, header["trained"])
    except FrozenError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FrozenError(f"is not a frozen encoder: {error}") from None
    if file.take("sha256", "u", 32).tobytes().hex() != frozen.digest:
        raise FrozenError("its digest is not that of its content: the file is damaged, or was changed by hand")
    return frozen
