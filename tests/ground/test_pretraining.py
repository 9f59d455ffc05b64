"""Encoders trained without labels: the losses of recipes, runs that are stopped, collapse, folding, bad input."""

# ruff: noqa: E402  torch may not be installed

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from ground.cli import app
from ground.encoders.checkpoint import read_checkpoint
from ground.encoders.corpus import Corpus, Part, gather, read_corpus
from ground.encoders.distillation import Distillation
from ground.encoders.errors import CheckpointError, CollapseError, EncoderError, SettingsError
from ground.encoders.freeze import folded, freeze, freeze_checkpoint
from ground.encoders.frozen import Frozen, FrozenError
from ground.encoders.mae import blocks, hidden, reconstruction
from ground.encoders.networks import ARCHITECTURES, Architecture, Layer, Network, parameters, pooled
from ground.encoders.rank import effective_rank
from ground.encoders.recipes import Recipe, Settings
from ground.encoders.simclr import nt_xent
from ground.encoders.targets import descriptions, whitened
from ground.encoders.thawed import embed
from ground.encoders.training import Trainer, run
from ground.encoders.views import Views, crops, two_views
from ground.npz import DatasetError

SETTINGS = Settings(architecture="tiny", epochs=3, batch=32, warm_up=2, views=Views(crop_px=24))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chips_of(n, side=32, bands=3, seed=0):
    """Chips of a colour and a roughness of their own, whose gradient runs in a direction of its own."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ramp = np.linspace(-40, 40, side)
    level = rng.uniform(60, 190, (n, 1, 1, bands))
    slope = rng.uniform(-1, 1, (n, 1, 1, 1)) * ramp[None, :, None, None]
    noise = rng.uniform(2, 40, (n, 1, 1, 1)) * rng.standard_normal((n, side, side, bands))
    return np.clip(level + slope + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def corpus():
    return Corpus(chips_of(96))


@pytest.fixture
def npz(tmp_path, corpus):
    path = tmp_path / "chips.npz"
    np.savez(path, chips=corpus.chips)
    return path


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.recipe.state_dict().items()}


def test_contrast_is_the_papers_equation():
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((8, 5))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        similar = np.exp(unit @ unit[i] / 0.3)
        losses.append(-np.log(similar[(i + 4) % 8] / (similar.sum() - similar[i])))
    assert float(nt_xent(torch.from_numpy(z), 0.3)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_reconstruction_counts_hidden_blocks_alone_each_normalised():
    rng = np.random.Generator(np.random.PCG64(2))
    x = rng.standard_normal((2, 3, 16, 24)).astype(np.float32)
    told = rng.standard_normal((2, 192, 2, 3)).astype(np.float32)
    mask = hidden(2, 2, 3, 0.5, torch.Generator().manual_seed(0))
    assert mask.sum(dim=(1, 2, 3)).tolist() == [3, 3]
    errors = []
    for n, _, r, c in np.argwhere(mask.numpy()):
        y = x[n, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].reshape(-1)
        errors.append(np.mean((told[n, :, r, c] - (y - y.mean()) / np.sqrt(y.var() + 0.01)) ** 2))
    found = reconstruction(torch.from_numpy(told), blocks(torch.from_numpy(x)), mask)
    assert float(found) == pytest.approx(np.mean(errors), rel=1e-5)


def test_effective_rank_of_equal_directions_is_their_number_and_of_a_line_one():
    eye = np.concatenate([np.eye(6), -np.eye(6)])
    assert effective_rank(eye) == pytest.approx(6)
    assert effective_rank(np.outer(np.arange(9.0), np.arange(4.0))) == pytest.approx(1)
    assert effective_rank(np.full((9, 4), 3.7, np.float32)) == 0


def test_targets_are_white():
    found = whitened(descriptions(chips_of(300)), 12)
    assert np.allclose(found.T @ found / len(found), np.eye(12), atol=1e-4)


def test_views_are_whole_pixels_turned_in_all_eight_ways():
    chip = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1)
    none = torch.zeros(8, dtype=torch.int64)
    found = crops(torch.from_numpy(chip), none, none + 2, none + 3, torch.arange(8), 8).numpy()[..., 0]
    part = chip[0, 2:10, 3:11, 0]
    wanted = {np.rot90(p, k).tobytes() for p in (part, part.T) for k in range(4)}
    assert {each.tobytes() for each in found} == wanted


def test_views_that_shall_be_near_each_other_are():
    at = torch.arange(50)
    rows = np.arange(64, dtype=np.uint8)[:, None, None].repeat(64, axis=1)
    chips = torch.from_numpy(np.stack([rows] * 50))
    found = two_views(chips, at, Views(crop_px=16, near_px=4), torch.Generator().manual_seed(3)).float()
    corner = found.amin(dim=(1, 2, 3))  # every symmetry keeps the least row, or shows columns, all alike
    least = corner.reshape(2, 50)
    assert (least[0] - least[1]).abs().max() <= 4


@pytest.mark.parametrize("name", ["simclr", "mae"])
def test_a_few_steps_lower_the_loss(corpus, name):
    trainer = Trainer(corpus, Settings(name, "tiny", epochs=8, batch=32, warm_up=2, views=Views(crop_px=24)))
    losses = [sum(trainer.advance().values()) for _ in range(trainer.steps)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(corpus, tmp_path):
    whole = Trainer(corpus, SETTINGS)
    run(whole, tmp_path / "whole.safetensors")
    first = Trainer(corpus, SETTINGS)
    for _ in range(4):
        first.advance()
    first.save(tmp_path / "part.safetensors")
    second = Trainer(corpus, SETTINGS)
    second.resume(read_checkpoint(tmp_path / "part.safetensors"))
    run(second, tmp_path / "part.safetensors")
    assert second.history == whole.history
    for name, array in weights(whole).items():
        assert np.array_equal(array, weights(second)[name]), name


def test_seeds_make_other_weights_and_one_seed_the_same(corpus):
    made = []
    for seed in (0, 0, 1):
        trainer = Trainer(corpus, Settings(architecture="tiny", batch=32, seed=seed, views=Views(crop_px=24)))
        trainer.advance()
        made.append(weights(trainer)["network.convolutions.0.weight"])
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


class Alike(Recipe):
    """Every component shall say what the first one says."""

    def losses(self, at, draw):
        grid = self.network(self.standardised(self.chips[at]))
        return {"alike": (grid - grid[:, :1]).square().mean() / grid[:, :1].var()}


def test_an_embedding_that_collapses_stops_the_run_loudly_and_keeps_the_checkpoint(corpus, tmp_path):
    trainer = Trainer(corpus, Settings("alike", "tiny", epochs=60, batch=32, warm_up=2, rate=0.01), Alike)
    path = tmp_path / "alike.safetensors"
    with pytest.raises(CollapseError, match=r"collapsed, its effective rank is [12]\."):
        run(trainer, path, every=5)
    assert read_checkpoint(path).step == trainer.step < trainer.steps


def test_a_loss_that_is_not_finite_stops_the_run(corpus):
    trainer = Trainer(corpus, SETTINGS)
    with torch.no_grad():
        trainer.network.projection.bias.fill_(torch.inf)
    with pytest.raises(CollapseError, match="not finite"):
        trainer.advance()


@pytest.fixture
def trained(corpus):
    """A network with shortcuts whose batch norms have seen chips."""
    torch.manual_seed(0)
    layers = (Layer(8, stride=2), Layer(8, shortcut=True), Layer(12, kernel=5, stride=4))
    network = Network(3, Architecture(layers, 6))
    for norm in network.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias)
    x = (torch.from_numpy(corpus.chips).float() - corpus.mean) / torch.from_numpy(corpus.std)
    for _ in range(5):
        network(x.permute(0, 3, 1, 2))
    return network.eval()


def test_folding_changes_nothing(trained, corpus):
    ends = np.full(6, -1, np.float32), np.full(6, 1, np.float32)
    plain = Frozen("plain", ("r", "g", "b"), corpus.mean, corpus.std, folded(trained), *ends)
    x = (torch.from_numpy(corpus.chips).float() - corpus.mean) / torch.from_numpy(corpus.std)
    with torch.no_grad():
        wanted = trained(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    found = plain.embed(corpus.chips)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert np.abs(embed(plain, corpus.chips) - found).max() <= 1e-5 * np.abs(found).max()


def test_a_frozen_encoder_is_standardised_and_turns_what_the_network_says(trained, corpus):
    frozen = freeze(trained, corpus.mean, corpus.std, corpus.chips, name="x", bands=("r", "g", "b"), width=4)
    cells = frozen.embed(corpus.chips).reshape(-1, 4).astype(np.float64)
    assert np.allclose(cells.mean(0), 0, atol=1e-4)
    spread = np.cov(cells, rowvar=False)
    assert np.allclose(spread, np.diag(np.diag(spread)), atol=2e-3)
    assert spread[0, 0] == pytest.approx(1, abs=1e-3)
    assert ((frozen.low < -0.5) & (frozen.top > 0.5)).all()
    again = freeze(trained, corpus.mean, corpus.std, corpus.chips, name="x", bands=("r", "g", "b"), width=4)
    assert again.digest == frozen.digest


def test_a_student_learns_what_its_teachers_say(corpus):
    torch.manual_seed(5)
    teachers = []
    for name in ("a", "b"):
        network = Network(3, ARCHITECTURES["tiny"]).eval()
        teachers.append(
            freeze(network, corpus.mean, corpus.std, corpus.chips, name=name, bands=("r", "g", "b"), width=5)
        )
    settings = Settings("distil", "tiny", epochs=10, batch=32, warm_up=2, views=Views(crop_px=24))
    trainer = Trainer(corpus, settings, lambda *made: Distillation(*made, teachers))
    told = [trainer.advance() for _ in range(trainer.steps)]
    assert told[-1]["cells"] < 0.8 * told[0]["cells"]
    assert not any(name.startswith("teachers") for name in trainer.recipe.state_dict())
    with pytest.raises(FrozenError, match="at least one teacher"):
        Trainer(corpus, settings, lambda *made: Distillation(*made, []))


def test_sizes_are_what_flies():
    sizes = {name: parameters(Network(3, each)) for name, each in ARCHITECTURES.items()}
    assert sorted(sizes.values()) == [sizes[name] for name in ("tiny", "small", "flight", "large")]
    assert 20_000 <= sizes["tiny"] < sizes["flight"] <= 100_000 < sizes["large"] <= 400_000
    assert all(Network(3, each).stride == 8 for each in ARCHITECTURES.values())
    assert pooled(Network(3, ARCHITECTURES["tiny"])(torch.zeros(2, 3, 96, 96))).shape == (2, 64)


def test_a_stream_is_sampled_without_favour():
    stream = (np.full((32, 32, 1), i, np.uint8) for i in range(200))
    kept = gather(stream, 100, seed=1).chips[:, 0, 0, 0]
    assert len(set(kept.tolist())) == 100
    assert 30 <= np.count_nonzero(kept >= 100) <= 70


def test_a_corpus_takes_the_training_split_where_there_is_one(tmp_path):
    chips = chips_of(150)
    np.savez(tmp_path / "split.npz", chips=chips, split=np.arange(150, dtype=np.uint8) % 2)
    assert len(read_corpus([tmp_path / "split.npz"]).chips) == 75
    assert len(read_corpus([tmp_path / "split.npz"], Part.all).chips) == 150


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"other": np.zeros(3)}, "'chips' is missing"),
        ({"chips": np.zeros((0, 32, 32, 3), np.uint8)}, "0 chips"),
        ({"chips": chips_of(20)}, "20 chips; an encoder needs at least 64"),
        ({"chips": np.zeros((99, 32, 32), np.uint8)}, "expected uint8 of shape"),
        ({"chips": np.zeros((99, 32, 32, 3))}, "expected uint8"),
        ({"chips": chips_of(70, 20)}, "chips of 20 x 20 pixels"),
        ({"chips": np.full((99, 32, 32, 3), 7, np.uint8)}, "the same everywhere"),
    ],
)
def test_chips_that_nothing_can_be_learnt_from_are_refused(tmp_path, arrays, why):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=why):
        read_corpus([path])
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot be read as npz"):
        read_corpus([path])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"recipe": "byol"}, "there are simclr, mae"),
        ({"architecture": "huge"}, "there are tiny"),
        ({"batch": 500}, "batches of 500"),
        ({"views": Views(crop_px=20)}, "multiple of 8"),
        ({"options": {"temprature": 1.0}}, "simclr has no option temprature"),
    ],
)
def test_settings_that_do_not_fit_are_told(corpus, changed, why):
    with pytest.raises(SettingsError, match=why):
        Trainer(corpus, Settings(**{"architecture": "tiny", "batch": 32, "views": Views(crop_px=24), **changed}))


def test_checkpoints_that_do_not_fit_are_told(corpus, tmp_path):
    path = tmp_path / "a.safetensors"
    trainer = Trainer(corpus, SETTINGS)
    trainer.advance()
    trainer.save(path)
    other = Settings(architecture="flight", epochs=3, batch=32, warm_up=2, views=Views(crop_px=24))
    with pytest.raises(CheckpointError, match="other settings: architecture tiny there, flight here"):
        Trainer(corpus, other).resume(read_checkpoint(path))
    with pytest.raises(CheckpointError, match="other data"):
        Trainer(Corpus(chips_of(96, seed=9)), SETTINGS).resume(read_checkpoint(path))
    with pytest.raises(EncoderError, match="2 bands"):
        freeze_checkpoint(read_checkpoint(path), Corpus(chips_of(96, bands=2)), "x")
    with pytest.raises(EncoderError, match="a width of 99"):
        freeze_checkpoint(read_checkpoint(path), corpus, "x", width=99)
    data = path.read_bytes()
    for cut in (0, 5, 200, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match="cut short"):
            read_checkpoint(path)


def test_tensors_of_somebody_else_are_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not those of"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_from_chips_to_a_frozen_encoder_on_the_command_line(npz, tmp_path, corpus):
    def ground(*arguments):
        found = CliRunner().invoke(app, ["encoder", *map(str, arguments)])
        return found.exit_code, found.stdout, found.stderr

    small = ("--architecture", "tiny", "--epochs", 2, "--batch", 32, "--crop", 24)
    checkpoint, frozen = tmp_path / "a.safetensors", tmp_path / "a.npz"
    code, told, _ = ground("pretrain", npz, "-o", checkpoint, *small, "--json")
    assert code == 0
    facts = json.loads(told)
    assert facts["steps"] == 6
    assert facts["data"] == corpus.digest
    assert (tmp_path / "a.loss.png").read_bytes().startswith(b"\x89PNG")
    code, told, notes = ground("pretrain", npz, "-o", checkpoint, *small, "--seed", 1)
    assert (code, "seed 0 there, 1 here" in notes) == (1, True)
    code, told, _ = ground(
        "freeze", checkpoint, npz, "-o", frozen, "--bands", "red,green,blue", "--width", 16, "--json"
    )
    assert code == 0
    assert json.loads(told)["digest"] == Frozen.read(frozen).digest
    before = Path(npz).read_bytes()
    code, _, notes = ground("freeze", checkpoint, npz, "-o", npz)
    assert (code, "is what the encoder is made of" in notes, Path(npz).read_bytes() == before) == (1, True, True)
    student = tmp_path / "b.safetensors"
    code, told, _ = ground("distil", npz, "-o", student, "--teacher", frozen, *small, "--json")
    assert code == 0
    assert json.loads(told)["recipe"] == "distil"
    code, _, notes = ground("pretrain", tmp_path / "none.npz", "-o", checkpoint, *small)
    assert (code, "No such file" in notes) == (1, True)


def test_without_torch_the_command_says_what_to_install(npz, tmp_path, monkeypatch):
    from ground import encoder_training_cli

    monkeypatch.setattr(encoder_training_cli, "find_spec", lambda name: None if name == "torch" else object())
    found = CliRunner().invoke(app, ["encoder", "pretrain", str(npz), "-o", str(tmp_path / "a.safetensors")])
    assert found.exit_code == 2
    assert "pip install '.[encoders]' in swath's checkout (missing: torch)" in found.stderr
