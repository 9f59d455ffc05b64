"""Pages that are made from the code say what the code says, and links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.cli import app as ground_app
from ground.products import ProductArchive
from ground.reference import page as dictionary_reference
from sim.cli import app as sim_app
from sim.plan import make_plan
from sim.scenario import load_scenario
from sim.scenario import reference as scenario_reference

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_the_dictionary_page_is_that_of_the_code():
    assert (ROOT / "docs" / "dictionary.md").read_text(encoding="utf-8").strip() == dictionary_reference().strip()


def test_the_scenario_page_is_that_of_the_code():
    assert (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8") == scenario_reference()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_scenario_on_the_missions_page_can_be_flown(tmp_path):
    text = (ROOT / "docs" / "missions.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1], encoding="utf-8")
    plan = make_plan(load_scenario(str(path)))
    assert len(plan.sent) == 2
    assert sum(overpass.cells.size for overpass in plan.overpasses) == plan.imagery.n_chips


def test_every_command_on_the_uplink_page_runs_and_the_predictions_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "uplink.md").read_text(encoding="utf-8")
    Path("mine.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1], encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, re.M)
    assert len(commands) > 8
    for command in commands:
        program, *arguments = shlex.split(command)
        result = CliRunner().invoke({"swath-sim": sim_app, "swath-ground": ground_app}[program], arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"
        assert result.output
    assert ProductArchive.read(Path("mine/ground/products.parquet")).tasks == (1,)
    summary = json.loads(Path("mine/summary.json").read_text(encoding="utf-8"))
    assert summary["label_payload_bytes"] == Path("labels.bin").stat().st_size < summary["label_packet_bytes"]
    assert summary["capture"]["frames"] == summary["frames_sent"] + summary["frames_duplicated"]


def test_an_empty_scenario_can_be_flown(tmp_path):
    path = tmp_path / "empty.toml"
    path.touch()
    assert make_plan(load_scenario(str(path))).overpasses
