"""From a trained network to a `Frozen` encoder: batch norm folded, embeddings whitened."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flight.learn.grid import COMPONENTS
from ground.encoders.checkpoint import Checkpoint
from ground.encoders.corpus import Corpus
from ground.encoders.errors import SettingsError
from ground.encoders.frozen import Conv, Frozen
from ground.encoders.networks import Network

# Components of less variance than this share of the greatest are not blown up to a variance of one: in integers they
# would be loud with rounding. Learners lose nothing, and int8 embeddings have a cosine of .999 with those in floats.
LEAST_VARIANCE = 0.03
MAX_CALIBRATION_CHIPS = 512
_BATCH = 64


def folded(network: Network) -> tuple[Conv, ...]:
    """The network's layers without batch norm, in the mode of evaluation.

    y = gamma (w x - mu) / sqrt(var + eps) + beta = (s w) x + beta - s mu, with s = gamma / sqrt(var + eps).
    """
    made: list[Conv] = []
    for i, (layer, convolution, norm) in enumerate(
        zip(network.architecture.layers, network.convolutions, network.norms, strict=True)
    ):
        scale, shift = _scale_and_shift(norm)
        kernel = _numpy(convolution.weight) * scale[:, None, None, None]
        made.append(_conv(kernel, shift, layer.stride, relu=True, add=i - 1 if layer.shortcut else None))
    made.append(_conv(_numpy(network.projection.weight), _numpy(network.projection.bias), 1, relu=False))
    return tuple(made)


def freeze(
    network: Network,
    mean: int,
    std: NDArray[np.float32],
    chips: NDArray[np.uint8],
    *,
    name: str,
    bands: tuple[str, ...],
    width: int | None = None,
    trained: Mapping[str, str | int | float] | None = None,
    seed: int = 0,
) -> Frozen:
    """The frozen encoder, calibrated on up to 512 of `chips` (n, height, width, bands) drawn under `seed`.

    Args:
        network: what was trained.
        mean: the byte that it saw as 0.
        std: float32 (bands,), the bytes that it saw as 1.
        chips: unlabelled chips like those that it was trained on.
        name: of the encoder.
        bands: names of the bands.
        width: principal components that are kept; by default 32, as many as learners use, or all of fewer.
        trained: how it was trained, for the header.
        seed: of the draw.

    Raises:
        FrozenError: if `width` is more than the network's, or chips do not fit it.
    """
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(chips))[:MAX_CALIBRATION_CHIPS]
    some = chips[np.sort(drawn)]
    *layers, last = folded(network)
    n = last.channels_out
    width = min(n, COMPONENTS) if width is None else width
    plain = Frozen(name, bands, mean, std, (*layers, last), np.full(n, -1, np.float32), np.full(n, 1, np.float32))
    cells = plain.embed(some).reshape(-1, n).astype(np.float64)
    centre = cells.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(cells, rowvar=False))
    values, axes = values[::-1][:width], axes[:, ::-1][:, :width]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(width)])
    turn = axes / np.sqrt(np.maximum(values, LEAST_VARIANCE * values[0]))
    kernel = last.kernel.astype(np.float64) @ turn
    bias = (last.bias - centre) @ turn
    turned = Conv(kernel.astype(np.float32), bias.astype(np.float32), relu=False)
    ends = np.full(width, -1, np.float32), np.full(width, 1, np.float32)
    return Frozen(name, bands, mean, std, (*layers, turned), *ends, dict(trained or {})).calibrated(some)


def freeze_checkpoint(
    checkpoint: Checkpoint, corpus: Corpus, name: str, bands: tuple[str, ...] | None = None, width: int | None = None
) -> Frozen:
    """The frozen encoder of a checkpoint, whitened and calibrated on `corpus`; its header tells how it was trained.

    Raises:
        SettingsError: if `corpus`, `bands` or `width` do not fit the network.
    """
    network, about = checkpoint.network(), checkpoint.about
    if corpus.bands != network.bands:
        raise SettingsError(
            f"{corpus.name}: {corpus.bands} bands, and {checkpoint.path} was trained on {network.bands}"
        )
    bands = bands or tuple(f"band{i + 1}" for i in range(network.bands))
    if len(bands) != network.bands:
        raise SettingsError(f"{len(bands)} names of bands, {', '.join(bands)}; expected {network.bands}")
    if width is not None and width > network.architecture.width:
        raise SettingsError(f"a width of {width}; {checkpoint.path} has {network.architecture.width}")
    settings = about["settings"]
    trained = {name: settings[name] for name in ("recipe", "architecture", "epochs", "seed")}
    trained |= {"chips": about["chips"], "data": about["data"], "steps": checkpoint.step}
    return freeze(
        network, checkpoint.mean, checkpoint.std, corpus.chips, name=name, bands=bands, width=width, trained=trained
    )


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    return scale, _numpy(norm.bias) - scale * _numpy(norm.running_mean)


def _conv(kernel: NDArray[np.float64], bias: NDArray[np.float64], stride: int, **more: int | bool | None) -> Conv:
    turned = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
    return Conv(turned, bias.astype(np.float32), stride, **more)


def _numpy(tensor: Tensor | None) -> NDArray[np.float64]:
    assert tensor is not None  # noqa: S101  batch norms here have weights and statistics
    return tensor.detach().to(torch.float64).numpy()
