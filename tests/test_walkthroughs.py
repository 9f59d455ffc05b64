"""Walkthroughs are run from their own text: files are written, commands and Python run, as a reader would do it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from ground.cli import app as ground_app
from ground.products import ProductArchive
from sim.cli import app as sim_app

DOCS = Path(__file__).parents[1] / "docs"
APPS = {"swath-sim": sim_app, "swath-ground": ground_app}


def walk(page: str, scenario: str) -> str:
    """Save the page's TOML as `scenario`, run every command and then its Python here; all that was printed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    Path(scenario).write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1], encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, re.M)
    assert commands
    printed = ""
    for command in commands:
        program, *arguments = shlex.split(command)
        result = CliRunner().invoke(APPS[program], arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"
        assert result.output
        printed += result.output
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        printed += subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return printed


def test_every_command_on_the_uplink_page_runs_and_the_predictions_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk("uplink.md", "mine.toml")
    assert ProductArchive.read(Path("mine/ground/products.parquet")).tasks == (1,)
    summary = json.loads(Path("mine/summary.json").read_text(encoding="utf-8"))
    assert summary["label_payload_bytes"] == Path("labels.bin").stat().st_size < summary["label_packet_bytes"]
    assert summary["capture"]["frames"] == summary["frames_sent"] + summary["frames_duplicated"]


def test_the_mission_of_the_report_page_survives_its_kill_and_its_figures_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "of the training mean's error" in walk("report.md", "short.toml")
    assert "Error against mission time" in Path("short/report.html").read_text(encoding="utf-8")
