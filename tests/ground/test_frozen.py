from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from encoder_world import chips, conv, frozen

from ground.encoders.frozen import Conv, Frozen, FrozenError
from ground.npz import DatasetError


def direct(made: Frozen, chip: np.ndarray) -> np.ndarray:
    """The definition of a convolution, one output value at a time."""
    x = (chip.astype(np.float64) - made.mean) / made.std
    outputs: list[np.ndarray] = []
    for layer in made.layers:
        size, step, pad = layer.kernel.shape[0], layer.stride, layer.kernel.shape[0] // 2
        padded = np.zeros((x.shape[0] + 2 * pad, x.shape[1] + 2 * pad, x.shape[2]))
        padded[pad : pad + x.shape[0], pad : pad + x.shape[1]] = x
        y = np.zeros((-(-x.shape[0] // step), -(-x.shape[1] // step), layer.channels_out))
        each = layer.channels_out // layer.groups
        for r, c, o in np.ndindex(y.shape):
            seen = padded[r * step : r * step + size, c * step : c * step + size]
            if layer.groups > 1:
                seen = seen[:, :, o // each : o // each + 1]
            y[r, c, o] = (seen * layer.kernel[:, :, :, o]).sum() + layer.bias[o]
        if layer.add is not None:
            y += outputs[layer.add]
        x = np.maximum(y, 0) if layer.relu else y
        outputs.append(x)
    return x


def test_an_embedding_is_what_the_definition_of_its_convolutions_gives() -> None:
    made, (chip,) = frozen(), chips(1, 16)
    assert made.embed(chip[None])[0] == pytest.approx(direct(made, chip), rel=1e-5, abs=1e-5)


def test_the_grid_has_a_cell_for_each_stride_and_the_batch_does_not_matter() -> None:
    made, some = frozen(width=5), chips(20, 64)
    grid = made.embed(some)
    assert grid.shape == (20, 8, 8, 5) and grid.dtype == np.float32 and made.stride == 8
    assert np.allclose(grid[17], made.embed(some[17:18])[0], atol=1e-6)
    assert made.embed(some[:0]).shape == (0, 8, 8, 5)


def test_a_border_is_padded_with_the_byte_that_stands_for_nothing() -> None:
    made = frozen()
    chip = np.full((1, 32, 32, 3), made.mean, np.uint8)
    first = made.outputs(chip)[0]
    assert np.allclose(first, first[0, 0, 0])  # no edge is seen


def test_ranges_hold_nearly_all_of_the_calibration_cells() -> None:
    made, some = frozen(), chips(64)
    made = made.calibrated(some)
    grid = made.embed(some)
    within = ((made.low <= grid) & (grid <= made.top)).mean()
    assert 0.997 <= within < 1


def test_a_file_gives_the_same_encoder_back_and_equal_encoders_make_equal_files(tmp_path: Path) -> None:
    made = frozen()
    made.write(tmp_path / "a.npz")
    frozen().write(tmp_path / "b.npz")
    back = Frozen.read(tmp_path / "a.npz")
    assert back.digest == made.digest and back.trained == {"recipe": "random", "seed": 0}
    assert np.array_equal(back.embed(chips(2)), made.embed(chips(2)))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_any_change_of_weights_normalisation_or_structure_is_another_digest() -> None:
    made = frozen()
    kernel = made.layers[1].kernel.copy()
    kernel[0, 0, 0, 0] += 1e-3
    layers = list(made.layers)
    layers[1] = dataclasses.replace(layers[1], kernel=kernel)
    others = [
        dataclasses.replace(made, layers=tuple(layers)),
        dataclasses.replace(made, mean=made.mean + 1),
        dataclasses.replace(made, std=made.std * np.float32(1.001)),
        dataclasses.replace(
            made, layers=(*made.layers[:3], dataclasses.replace(made.layers[3], add=2), *made.layers[4:])
        ),
    ]
    assert len({made.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "no spaces"}, "name"),
        ({"bands": ()}, "bands"),
        ({"mean": 300}, "mean 300"),
        ({"std": np.zeros(3, np.float32)}, "positive"),
        ({"std": np.ones(2, np.float32)}, r"expected finite float32 \(3,\)"),
        ({"low": np.ones(8, np.float32)}, "low is not below top"),
        ({"layers": ()}, "0 layers"),
        ({"layers": frozen().layers[:-1]}, "last layer"),
        ({"layers": frozen().layers[1:]}, "layer 0 takes 8 channels, and 3 come in"),
        ({"trained": {"data": [1]}}, "trained"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(FrozenError, match=message):
        dataclasses.replace(frozen(), **change)  # type: ignore[arg-type]


def test_layers_that_cannot_be_are_named() -> None:
    rng = np.random.default_rng(0)
    good = conv(rng, 3, 4, 4)
    for change, message in (
        ({"kernel": good.kernel.astype(np.float64)}, "float32"),
        ({"kernel": good.kernel[:2, :2]}, "odd"),
        ({"bias": good.bias[:2]}, "do not fit"),
        ({"stride": 0}, "stride"),
        ({"groups": 2}, "groups"),
        ({"kernel": good.kernel * np.float32(np.nan)}, "finite"),
    ):
        with pytest.raises(FrozenError, match=message):
            dataclasses.replace(good, **change)
    layers = list(frozen().layers)
    layers[3] = dataclasses.replace(layers[3], add=0)
    with pytest.raises(FrozenError, match="layer 3 adds layer 0, which has another shape"):
        dataclasses.replace(frozen(), layers=tuple(layers))


def test_chips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FrozenError, match="multiple of 8"):
        frozen().embed(chips(1, 32)[:, :30])
    with pytest.raises(FrozenError, match=r"uint8 \(n, height, width, 3\)"):
        frozen().embed(chips(1, bands=4))


def damaged(path: Path, **arrays: object) -> Path:
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content.update(arrays)  # type: ignore[arg-type]
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    return path


def test_damaged_files_are_refused_and_say_why(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"

    def refused(message: str) -> None:
        with pytest.raises(DatasetError, match=message) as caught:
            Frozen.read(path)
        assert str(path) in str(caught.value)

    made = frozen()
    made.write(path)
    header = json.loads(np.load(path)["header"].tobytes())

    def with_header(**changes: object) -> np.ndarray:
        return np.frombuffer(json.dumps({**header, **changes}).encode(), np.uint8)

    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("truncated or damaged")
    for arrays, message in (
        ({"kernel1": made.layers[1].kernel * np.float32(2)}, "digest"),
        ({"kernel1": None}, "kernel1"),
        ({"kernel1": made.layers[1].kernel.astype(np.float64)}, "float32"),
        ({"header": np.frombuffer(b"{", np.uint8)}, "not a frozen encoder"),
        ({"header": with_header(format=9)}, "format 9"),
        ({"header": with_header(layers=[{"nonsense": 1}] * 6)}, "not a frozen encoder"),
        ({"header": with_header(mean="much")}, "not a frozen encoder"),
    ):
        path.write_bytes(whole)
        damaged(path, **arrays)
        refused(message)


def test_a_file_with_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    np.savez(path, header=np.array([{"format": 1}], dtype=object))
    with pytest.raises(DatasetError, match="cannot be read"):
        Frozen.read(path)
    assert zipfile.is_zipfile(path)


def test_a_depthwise_layer_may_make_several_channels_of_one() -> None:
    rng = np.random.default_rng(3)
    layer = Conv(rng.standard_normal((3, 3, 1, 6)).astype(np.float32), np.zeros(6, np.float32), groups=3)
    last = conv(rng, 1, 6, 4, relu=False)
    ends = np.full(4, -1, np.float32), np.full(4, 1, np.float32)
    made = Frozen("wide", ("r", "g", "b"), 100, np.ones(3, np.float32), (layer, last), *ends)
    chip = chips(1, 8)
    assert made.embed(chip)[0] == pytest.approx(direct(made, chip[0]), rel=1e-4, abs=1e-3)
