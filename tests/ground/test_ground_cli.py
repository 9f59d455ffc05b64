from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_datasets import save  # a small dataset, in the same directory
from typer.testing import CliRunner, Result

from flight.config import LinkConfig
from flight.curve import Curve
from flight.link import event_log, labelset, parcel, product, region_codec
from flight.link.dictionary import Telemetry
from flight.link.keys import KeyRing
from flight.link.layout import map_order
from ground import entry
from ground.cli import app
from ground.products import ProductArchive

TABLE = "code,forest,crops,water\n00017,0.2,0.5,0.3\n00018,1,0,0\n00019,,,\n"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_is_packed_with_no_other_option(table: Path) -> None:
    result = run("labels", "pack", table, "-o", "out.labels", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    data = Path("out.labels").read_bytes()
    decoded = labelset.unpack(data, LinkConfig())
    assert facts["bytes"] == len(data) and facts["rows"] == 2 and facts["missing_rows"] == 1
    assert decoded.classes == ("forest", "crops", "water") and decoded.region_id == 0 and decoded.levels == 32
    assert facts["airtime_s"]["uhf-9k6"] == pytest.approx(len(data) * 8 / 9600 / 0.7, abs=0.01)
    assert facts["max_error"] < 1 / 32


def test_an_error_budget_picks_the_levels(table: Path) -> None:
    assert run("labels", "pack", table, "-o", "out.labels", "--max-error", "0.01").exit_code == 0
    assert labelset.unpack(Path("out.labels").read_bytes(), LinkConfig()).levels == 100


def test_options_that_contradict_each_other_are_a_usage_error(table: Path) -> None:
    assert run("labels", "pack", table, "-o", "x", "--max-error", "0.01", "--levels", "8").exit_code == 2
    assert run("labels", "pack", table).exit_code == 2
    assert run("nonsense").exit_code == 2


def test_a_bad_table_is_told_on_stderr_and_nothing_is_written(table: Path) -> None:
    table.write_text(TABLE.replace("0.5", "0.8"))
    result = run("labels", "pack", table, "-o", "out.labels")
    assert result.exit_code == 1 and result.stdout == ""
    assert f"{table}: line 2: proportions of municipality '00017' sum to 1.3" in result.stderr
    assert not Path("out.labels").exists()


def test_files_of_the_wrong_kind_and_absent_ones_are_told_without_a_traceback(table: Path) -> None:
    run("labels", "pack", table, "-o", "out.labels")
    for arguments, message in (
        (("region", "inspect", "out.labels"), "out.labels: region: the file is a label set"),
        (("labels", "inspect", "absent"), "absent: No such file"),
        (("labels", "pack", table, "-o", "absent/out"), "absent: there is no such directory"),
        (("dataset", "inspect", table), "cannot be read as npz"),
        (("products", "inspect", "out.labels"), "product: the file is a label set"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and message in result.stderr and isinstance(result.exception, SystemExit)


def test_a_dataset_goes_to_a_region_and_a_table_that_fit_each_other(tmp_path: Path, table: Path) -> None:
    dataset = save(tmp_path / "small.npz")
    assert "all checks passed" in run("dataset", "inspect", dataset).stdout
    assert run("region", "pack", dataset, "-o", "small.region", "--region-id", 12).exit_code == 0
    assert run("labels", "export", dataset, "-o", "small.csv").exit_code == 0
    result = run("labels", "pack", "small.csv", "-o", "small.labels", "--region", "small.region", "--task-id", 4)
    assert result.exit_code == 0, result.stderr
    of_region = region_codec.unpack(Path("small.region").read_bytes(), LinkConfig())
    label_set = labelset.unpack(Path("small.labels").read_bytes(), LinkConfig(), map_order(of_region))
    assert (label_set.region_id, label_set.task_id) == (12, 4)
    assert label_set.missing.tolist() == [False, False, True, True]  # the training split has the first two
    assert json.loads(run("region", "inspect", "small.region", "--json").stdout)["chips"] == 24
    inspect = ("labels", "inspect", "small.labels")
    assert json.loads(run(*inspect, "--region", "small.region", "--json").stdout)["rows"] == 2
    assert "small.labels: is coded along the map of region 12: give its file with --region" in run(*inspect).stderr


def test_a_later_table_is_packed_as_a_delta_if_that_is_smaller(table: Path) -> None:
    rows = [f"{i:05d},{0.2 + i % 7 / 10:g},{0.8 - i % 7 / 10:g},0" for i in range(40)]
    table.write_text("\n".join(["code,forest,crops,water", *rows]))
    pack = ("labels", "pack", table, "--json", "-o")
    run(*pack, "one.labels")
    table.write_text("\n".join(["code,forest,crops,water", "00000,1,0,0", *rows[1:]]))
    facts = json.loads(run(*pack, "two.labels", "--version", 2, "--base", "one.labels").stdout)
    assert facts["packed_as"] == "delta" and facts["bytes"] == facts["delta_bytes"] < facts["whole_bytes"]
    inspect = ("labels", "inspect", "two.labels", "--json")
    assert json.loads(run(*inspect, "--base", "one.labels").stdout)["delta_against"].startswith("version 1 of task 1")
    assert "is a delta against version 1 of task 1" in run(*inspect).stderr
    table.write_text("\n".join(["code,plants,water", *(f"{i:05d},1,0" for i in range(40))]))
    became = ("--base", "one.labels", "--base", "two.labels", "--became", "forest=plants", "--became", "crops=plants")
    facts = json.loads(run(*pack, "three.labels", "--task-id", 2, *became).stdout)
    assert facts["packed_as"] == "whole" and facts["delta_bytes"] >= facts["bytes"]
    result = run(*pack, "four.labels", *became[:4])
    assert result.exit_code == 1 and "say what became of class forest, crops" in result.stderr


def test_codes_from_a_file_set_the_order(table: Path) -> None:
    Path("codes.txt").write_text("00019\n00018\n00017\n00016\n")
    assert run("labels", "pack", table, "-o", "out.labels", "--codes", "codes.txt").exit_code == 0
    assert labelset.unpack(Path("out.labels").read_bytes(), LinkConfig()).missing.tolist() == [True, False, False, True]
    Path("codes.txt").write_text("00018\n")
    result = run("labels", "pack", table, "-o", "out.labels", "--codes", "codes.txt")
    assert result.exit_code == 1 and "'00017' is not in the region" in result.stderr


def test_products_are_inspected_as_they_came_and_as_archived(table: Path) -> None:
    made = product.Product(7, 1, 2, bytes(8), 64, np.arange(3, dtype=np.int32), np.full((3, 2), 0.5, np.float32))
    Path("one.product").write_bytes(product.pack(made))
    assert json.loads(run("products", "inspect", "one.product", "--json").stdout)["chips"] == 3
    archive = ProductArchive(7, 2, 2)
    archive.add(made)
    archive.write(Path("products.parquet"))
    facts = json.loads(run("products", "inspect", "products.parquet", "--json").stdout)
    assert facts["task_1"]["chips"] == 3 and facts["task_1"]["label_versions"] == [2]


def test_curve_certificates_are_a_pair_the_secret_one_for_its_owner_only_and_never_replaced(table: Path) -> None:
    assert run("keys", "curve", "flight", "-o", "keys").exit_code == 0
    assert run("keys", "curve", "modem", "-o", "keys").exit_code == 0
    secret, public = Path("keys/flight.key_secret"), Path("keys/flight.key")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert "secret-key" in secret.read_text() and "secret-key" not in public.read_text()
    curve = Curve.load(True, secret, Path("keys/modem.key"))
    assert Curve.load(False, Path("keys/modem.key_secret"), public).peers == {curve.public}
    again = run("keys", "curve", "flight", "-o", "keys")
    assert again.exit_code == 1 and "exists already and is not replaced" in again.stderr
    assert run("keys", "curve", "../flight").exit_code == 2


def test_new_keys_are_for_their_owner_only_and_never_replace_a_file(table: Path) -> None:
    assert run("keys", "new", "-o", "keys.toml").exit_code == 0
    path = Path("keys.toml")
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(KeyRing.load(path).key_ids) == 2
    result = run("keys", "new", "-o", "keys.toml")
    assert result.exit_code == 1 and "exists already" in result.stderr and path.read_bytes() == before


def test_the_active_key_is_changed_in_the_file_and_the_keys_are_not_shown(table: Path) -> None:
    path = Path("keys.toml")
    run("keys", "new", "-o", "keys.toml")
    before = KeyRing.load(path)
    result = run("keys", "activate", "keys.toml", "2")
    after = KeyRing.load(path)
    assert result.exit_code == 0 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert after.dump() == before.dump().replace(b"active = 1", b"active = 2")
    refused = run("keys", "activate", "keys.toml", "7")
    assert refused.exit_code == 1 and "there is no key 7" in refused.stderr and KeyRing.load(path).active == 2
    lines = before.dump().decode().splitlines()
    assert not any(line.split('"')[1] in result.output + refused.output for line in lines if "key =" in line)


def test_help_shows_every_group() -> None:
    text = run("--help").stdout
    groups = ("keys", "labels", "region", "dataset", "products", "capture", "command", "sequence", "dictionary", "log")
    assert all(name in text for name in groups)


def test_a_bare_install_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "find_spec", lambda name: None if name == "pyarrow" else object())
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2 and "pip install '.[ground]'" in capsys.readouterr().err


def test_the_door_opens_without_loading_the_house() -> None:
    code = "import sys, ground.entry; print([m for m in ('typer', 'rich', 'pyarrow', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_region_files_say_their_size(tmp_path: Path, table: Path) -> None:
    result = run("region", "pack", save(tmp_path / "small.npz"), "-o", "small.region", "--json")
    data = Path("small.region").read_bytes()
    assert json.loads(result.stdout)["bytes"] == len(data) and region_codec.unpack(data, LinkConfig()).rows >= 1


def test_a_parameter_table_is_packed_as_flight_will_take_it(table: Path) -> None:
    Path("p.toml").write_text("[executive]\nhousekeeping_s = 30\n")
    assert run("update", "pack", "p.toml", "--version", 3, "-o", "p.update").exit_code == 0
    facts = json.loads(run("update", "inspect", "p.update", "--json").stdout)
    assert (facts["slot"], facts["version"]) == ("parameters", 3)
    assert facts["sha256"] == hashlib.sha256(Path("p.toml").read_bytes()).hexdigest()
    Path("p.toml").write_text("[link]\nuplink_bps = 100\n")
    refused = run("update", "pack", "p.toml", "--version", 4, "-o", "q.update")
    assert refused.exit_code == 1 and "link: may not be changed in flight" in refused.stderr
    assert not Path("q.update").exists()


def test_a_model_that_came_down_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model-2"
    path.write_bytes(parcel.pack_model(parcel.Model("moments", 7, 2, 5, b"weights")))
    facts = json.loads(run("products", "inspect", path, "--json").stdout)
    assert (facts["learner"], facts["task_id"], facts["weights_bytes"]) == ("moments", 2, 7)
    assert facts["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_an_event_log_that_came_down_is_printed_by_name_with_time_and_values(tmp_path: Path) -> None:
    path = tmp_path / "event-log-2-7"
    sent = {"t_s": 90.5, "serial": 1, "task_id": 3, "label_version": 4, "model_digest": bytes(range(8))}
    ready = Telemetry("model-ready", sent)
    path.write_bytes(event_log.pack(event_log.LoggedEvents(2, 99.0, {"model-ready": 7}, [ready])))
    facts = json.loads(run("products", "inspect", path, "--json").stdout)
    assert (facts["incarnation"], facts["made_s"], facts["count"]) == (2, 99.0, {"model-ready": 7})
    values = {"task_id": 3, "label_version": 4, "model_digest": "0001020304050607"}
    head = {"serial": 1, "name": "model-ready", "severity": "info", "t_s": 90.5}
    assert facts["events"] == [{**head, "values": values}]
    table = " ".join(run("products", "inspect", path).stdout.split())
    assert "90.500 s info model-ready task_id=3" in table and "count model-ready" in table


def test_everything_but_maps_works_without_the_libraries_for_maps(table: Path) -> None:
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(['geopandas', 'shapely', 'pyogrio', 'pyproj', 'rasterio']));"
    )
    code = f"{blocked} from ground.cli import app; app(['labels', 'pack', 'table.csv', '-o', 'out.labels'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and Path("out.labels").exists(), done.stderr
