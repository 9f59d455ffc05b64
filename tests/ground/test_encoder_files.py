from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from encoder_world import chips, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flight.encoder import EncoderError, EncoderFile, open_encoder
from flight.encoder.file import BLANK, Limits
from flight.encoder.runtimes import RUNTIMES, installed
from ground.cli import app
from ground.encoders import verify
from ground.encoders.export import Form, Precision, exported, lowered
from ground.encoders.frozen import FrozenError
from ground.encoders.network import Network, in_floats, in_integers
from ground.encoders.sizes import calibration_chips

pytest.importorskip("onnx")
pytest.importorskip("ai_edge_litert")
RUN = [(form, precision) for form in Form for precision in Precision]


@pytest.fixture(scope="module")
def networks() -> dict[Precision, Network]:
    made = frozen()
    return {precision: lowered(made, precision, chips(48)) for precision in Precision}


@pytest.fixture(scope="module")
def files(networks: dict[Precision, Network]) -> dict[tuple[Form, Precision], EncoderFile]:
    return {(form, precision): exported(networks[precision], form, 32, 32) for form, precision in RUN}


def able(form: Form) -> list[str]:
    return [name for name in RUNTIMES[form] if name in installed()]


@pytest.mark.parametrize(("form", "precision"), RUN)
def test_every_runtime_computes_what_numpy_does(
    form: Form,
    precision: Precision,
    networks: dict[Precision, Network],
    files: dict[tuple[Form, Precision], EncoderFile],
) -> None:
    some, oracle = chips(24, seed=7), networks[precision].embed(chips(24, seed=7))
    assert able(form)
    for name in able(form):
        made = open_encoder(files[form, precision].data, name)(some)
        if precision is Precision.int8:
            assert np.array_equal(made, oracle)  # bit by bit, where layers are added as well
        else:
            assert np.abs(made - oracle).max() <= 1e-5 * np.abs(oracle).max()


@pytest.mark.parametrize("form", Form)
def test_a_chip_gives_the_same_bits_whatever_it_comes_together_with(
    form: Form, files: dict[tuple[Form, Precision], EncoderFile]
) -> None:
    some = chips(9, seed=3)
    for precision in Precision:
        encoder = open_encoder(files[form, precision].data)
        together = encoder(some)
        assert all(np.array_equal(encoder(some[i : i + 1])[0], together[i]) for i in (4, 0, 8))
        assert np.array_equal(open_encoder(files[form, precision].data)(some[::-1])[::-1], together)


def test_integers_stay_close_to_floats_and_weights_take_no_more_than_their_levels() -> None:
    made, some = frozen(), chips(64, seed=11)
    network = in_integers(made, chips(64), levels=63)
    a, b = network.embed(some).reshape(64, -1), np.clip(made.embed(some), made.low, made.top).reshape(64, -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.mean() > 0.999
    assert max(np.abs(layer.kernel.astype(int)).max() for layer in network.layers) <= 63
    with pytest.raises(FrozenError, match="at least 16"):
        in_integers(made, some[:3])


def test_a_file_says_what_it_is(files: dict[tuple[Form, Precision], EncoderFile]) -> None:
    made = frozen()
    for (form, precision), file in files.items():
        header = EncoderFile.parse(file.data).header
        assert (header.chip, header.grid, header.bands) == ((32, 32, 3), (4, 4, 8), made.bands)
        assert (header.precision, header.frozen, header.trained) == (precision, made.digest, made.trained)
        assert (file.graph.form, file.graph.macs) == (form, 212_992)
        assert np.array_equal(np.float32(header.low), made.low)
    assert len({file.digest for file in files.values()}) == len(files)


def test_equal_encoders_make_equal_files(networks: dict[Precision, Network]) -> None:
    for form in Form:
        assert (
            exported(networks[Precision.int8], form, 32, 32).data
            == exported(in_integers(frozen(), chips(48)), form, 32, 32).data
        )


def test_a_digest_shows_any_damage(files: dict[tuple[Form, Precision], EncoderFile]) -> None:
    rng = np.random.default_rng(0)
    for file in files.values():
        for _ in range(40):
            broken = bytearray(file.data)
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
            with pytest.raises(EncoderError):
                EncoderFile.parse(bytes(broken))
        for end in (0, 4, 20, len(file.data) // 2, len(file.data) - 1):
            with pytest.raises(EncoderError):
                EncoderFile.parse(file.data[:end])


def resealed(data: bytes) -> bytes:
    """A changed file with the digest that it would have."""
    at = data.find(b'"sha256": "') + 11
    blank = data[:at] + BLANK.encode() + data[at + 64 :]
    return data[:at] + hashlib.sha256(blank).hexdigest().encode() + data[at + 64 :]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_forged_file_is_refused_or_runs_within_what_was_checked(
    files: dict[tuple[Form, Precision], EncoderFile], data: st.DataObject
) -> None:
    file = files[data.draw(st.sampled_from(RUN))]
    broken = bytearray(file.data)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    forged = resealed(bytes(broken))
    try:
        parsed = EncoderFile.parse(forged)
    except EncoderError:
        return
    assert parsed.graph.peak <= Limits().activation_bytes and parsed.graph.macs <= Limits().macs


def with_header(file: EncoderFile, **changes: object) -> bytes:
    """A file with other metadata of the same length."""
    start = file.data.find(b'{"format"')
    end = start + len(json.dumps(json.loads(file.data[start : file.data.find(b"}", file.data.find(b'"answers"')) + 1])))
    plain = {**json.loads(file.data[start:end]), **changes}
    text = json.dumps(plain).encode()
    assert len(text) <= end - start
    return resealed(file.data[:start] + text.ljust(end - start) + file.data[end:])


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format"),
        ({"chip": [64, 32, 3]}, r"where uint8 \(1, 64, 32, 3\) is said"),
        ({"grid": [4, 4, 9]}, "do not fit"),
        ({"low": [0.0] * 8}, "range"),
        ({"precision": "int4"}, "int4"),
        ({"bands": [1, 2, 3]}, "not text"),
        ({"answers": []}, "known answers"),
        ({"trained": None}, "known are"),
        ({"std": "x"}, "cannot be read|do not fit"),
    ],
)
def test_metadata_that_do_not_fit_are_named(
    form: Form, changes: dict[str, object], message: str, files: dict[tuple[Form, Precision], EncoderFile]
) -> None:
    file = files[form, Precision.int8]
    if "low" in changes:
        changes = {"low": [1.0] * 8, "top": [0.0] * 8}
    with pytest.raises(EncoderError, match=message):
        EncoderFile.parse(with_header(file, **changes))


@pytest.mark.parametrize("form", Form)
def test_wrong_answers_are_refused(form: Form, files: dict[tuple[Form, Precision], EncoderFile]) -> None:
    file = files[form, Precision.int8]
    answers = [[[9] * 8] * 3] * 2
    with pytest.raises(EncoderError, match="known answer is off by"):
        open_encoder(with_header(file, answers=answers))


def test_files_over_the_limits_are_refused(files: dict[tuple[Form, Precision], EncoderFile]) -> None:
    file = files[Form.tflite, Precision.int8]
    for limits, message in (
        (Limits(file_bytes=1000), "at most 1000"),
        (Limits(activation_bytes=1000), "allowed are 1000"),
        (Limits(macs=1000), "products a chip"),
    ):
        with pytest.raises(EncoderError, match=message):
            EncoderFile.parse(file.data, limits)


def onnx_with(file: EncoderFile, change: object) -> bytes:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(file.data)
    change(onnx, model)  # type: ignore[operator]
    return resealed(model.SerializeToString())


def test_onnx_files_that_exporters_do_not_write_are_refused(files: dict[tuple[Form, Precision], EncoderFile]) -> None:
    def unknown(onnx, model):
        model.graph.node[-1].op_type = "Gather"

    def dynamic(onnx, model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"

    def outside(onnx, model):
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    def domain(onnx, model):
        model.graph.node[0].domain = "com.microsoft"

    def function(onnx, model):
        model.functions.add(name="f", domain="x")

    def short(onnx, model):
        model.graph.initializer[0].raw_data = b""

    def subgraph(onnx, model):
        attribute = model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
        attribute.g.CopyFrom(onnx.helper.make_graph([], "g", [], []))

    def huge(onnx, model):
        next(a for n in model.graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "pads").ints[0] = (
            1 << 40
        )

    def circular(onnx, model):
        model.graph.node[0].input[0] = model.graph.output[0].name

    file = files[Form.onnx, Precision.int8]
    for change, message in (
        (unknown, "operator Gather is not one of"),
        (dynamic, "no fixed shape"),
        (outside, "field 13|field 14"),
        (domain, "field 7"),
        (function, "field 25"),
        (short, "has 0 bytes"),
        (subgraph, "field 6"),
        (huge, "pads"),
        (circular, "nothing before it makes"),
    ):
        with pytest.raises(EncoderError, match=message):
            EncoderFile.parse(onnx_with(file, change))
    assert EncoderFile.parse(onnx_with(file, lambda onnx, model: None)).header == file.header


def tflite_with(file: EncoderFile, change: object) -> bytes:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(file.data), 0))
    change(schema, model)  # type: ignore[operator]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return resealed(bytes(builder.Output()))


def test_tflite_files_that_the_exporter_does_not_write_are_refused(
    files: dict[tuple[Form, Precision], EncoderFile],
) -> None:
    def unknown(schema, model):
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 9

    def custom(schema, model):
        model.operatorCodes[0].customCode = b"evil"

    def dynamic(schema, model):
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shapeSignature = [-1, 32, 32, 3]

    def two(schema, model):
        model.subgraphs = [model.subgraphs[0], model.subgraphs[0]]

    def short(schema, model):
        model.buffers[1].data = model.buffers[1].data[:2]

    def beyond(schema, model):
        model.subgraphs[0].operators[-1].inputs = [0, 9999]

    def growing(schema, model):
        model.subgraphs[0].tensors[model.subgraphs[0].operators[2].outputs[0]].shape = [1, 9999, 9999, 8]

    def dilated(schema, model):
        convolution = next(o for o in model.subgraphs[0].operators if hasattr(o.builtinOptions, "dilationHFactor"))
        convolution.builtinOptions.dilationHFactor = 7

    def variable(schema, model):
        model.subgraphs[0].tensors[0].isVariable = True

    def nameless(schema, model):
        model.metadata = []

    file = files[Form.tflite, Precision.int8]
    for change, message in (
        (unknown, "operator 9 is not one of"),
        (custom, "field 1, which is not known"),
        (dynamic, "field 7, which is not known"),
        (two, "2 graphs"),
        (short, "bytes, not"),
        (beyond, "takes '9999'"),
        (growing, "declared is int8"),
        (dilated, "dilated"),
        (variable, "field 5"),
        (nameless, "no metadata"),
    ):
        with pytest.raises(EncoderError, match=message):
            EncoderFile.parse(tflite_with(file, change))
    assert EncoderFile.parse(tflite_with(file, lambda schema, model: None)).header == file.header


def test_what_is_no_encoder_says_so() -> None:
    for data in (b"", b"\0" * 100, b"TFL3" * 40, b"PK\3\4", np.random.default_rng(0).bytes(4000)):
        with pytest.raises(EncoderError, match="not an encoder file"):
            EncoderFile.parse(data)


def test_weights_that_are_no_numbers_do_not_pass_the_known_answers() -> None:
    made = frozen()
    network = in_floats(made)
    bias = network.layers[-1].bias.copy()
    bias[0] = np.nan
    layers = (*network.layers[:-1], dataclasses.replace(network.layers[-1], bias=bias))
    for form in Form:
        file = exported(dataclasses.replace(network, layers=layers), form, 32, 32)
        with pytest.raises(EncoderError, match="no numbers"):
            open_encoder(file.data)


def test_verify_compares_every_runtime_and_fails_where_one_is_off(
    networks: dict[Precision, Network], files: dict[tuple[Form, Precision], EncoderFile]
) -> None:
    made, some = frozen(), chips(20, seed=2)
    found = verify.compare(made, [(file, None) for file in files.values()], some)
    assert len(found) == len(files) + (find_spec("torch") is not None)
    assert all(each.passed and each.chips == 20 for each in found)
    other = exported(in_floats(frozen(seed=9)), Form.tflite, 32, 32)
    (off, *_) = verify.compare(made, [(other, None)], some)
    assert not off.passed and off.worst > 0.1


def test_the_command_line_exports_inspects_and_verifies(tmp_path: Path) -> None:
    frozen().write(tmp_path / "e.npz")
    np.savez(tmp_path / "chips.npz", chips=chips(40), split=np.zeros(40, np.uint8))
    out = tmp_path / "e.tflite"
    run = CliRunner().invoke
    done = run(app, ["encoder", "export", str(tmp_path / "e.npz"), "-o", str(out), "--chip", "32"])
    assert done.exit_code == 1 and "calibration chips" in done.output and not out.exists()
    arguments = ["encoder", "export", str(tmp_path / "e.npz"), "-o", str(out), "--chip", "32"]
    done = run(app, [*arguments, "--calibration", str(tmp_path / "chips.npz"), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(run(app, ["encoder", "inspect", str(out), "--json"]).stdout)
    assert facts == json.loads(done.stdout)
    assert facts["update_bytes"] < facts["bytes"] == out.stat().st_size
    assert "uhf-9k6" in facts["airtime_s"]
    layers = json.loads(run(app, ["encoder", "inspect", str(tmp_path / "e.npz"), "--chip", "32", "--json"]).stdout)
    assert layers["macs"] == 212_992 and len(layers["layer"]) == 6
    done = run(app, ["encoder", "verify", str(tmp_path / "e.npz"), "--data", str(tmp_path / "chips.npz"), "--json"])
    rows = json.loads(done.stdout)["rows"]
    assert done.exit_code == 0 and {row["precision"] for row in rows} == {"fp32", "int8"}
    assert all(row["exact"] == 1 for row in rows if row["precision"] == "int8")


def test_calibration_chips_come_from_each_file_alike_and_have_one_shape(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.npz" for name in ("dark", "bright", "small")]
    for path, level, side in zip(paths, (10, 200, 16), (32, 32, 16), strict=True):
        np.savez(path, chips=np.full((300, side, side, 3), level, np.uint8))
    taken = calibration_chips(paths[:2])
    assert [int((taken[:, 0, 0, 0] == level).sum()) for level in (10, 200)] == [128, 128]
    with pytest.raises(FrozenError, match=r"small.npz: chips of \(16, 16, 3\); those of"):
        calibration_chips([paths[0], paths[2]])
