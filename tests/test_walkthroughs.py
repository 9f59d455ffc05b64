"""Walkthroughs are run from their own text: files are written, commands and Python run, as a reader would do it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from flight.cli import main as flight
from ground.cli import app as ground_app
from ground.products import ProductArchive
from sim.cli import app as sim_app

DOCS = Path(__file__).parents[1] / "docs"
APPS = {"swath-sim": sim_app, "swath-ground": ground_app}


def run(command: str) -> str:
    """Run a command line of ours; what it printed."""
    program, *arguments = shlex.split(command)
    if program == "python":
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout
    result = CliRunner().invoke(APPS[program], arguments)
    assert result.exit_code == 0, f"{command}\n{result.output}"
    assert result.output
    return result.output


def commands_of(text: str) -> list[str]:
    """The commands that a page shows after `$`, each on one line."""
    return re.findall(r"^\$ (.*)$", re.sub(r" *\\\n *", " ", text), re.M)


def walk(page: str, scenario: str | None = None) -> str:
    """Save the page's TOML as `scenario`, run every command and then its Python here; all that was printed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if scenario is not None:
        Path(scenario).write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1], encoding="utf-8")
    commands = commands_of(text)
    assert commands
    printed = "".join(run(command) for command in commands)
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


def test_the_imagery_page_leads_from_example_files_to_a_map_on_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = walk("your-imagery.md")
    assert "EPSG:32630 (960.0, 960.0) ('forest', 'grassland', 'crops', 'other land', 'entropy')" in printed
    summary = json.loads(Path("mine/summary.json").read_text(encoding="utf-8"))
    assert summary["mae_soft"] < 0.05
    assert Path("mine.png").exists() and not Path(".mine.work").exists()


def test_the_readme_shows_the_same_way_to_a_map_as_its_page():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Your own map.*?```sh\n(.*?)```", readme, re.S)[1]  # without prompts: to be copied as a whole
    ours = re.sub(r" *\\\n *", " ", block).splitlines()
    page = commands_of((DOCS / "your-imagery.md").read_text(encoding="utf-8"))
    assert [line for line in ours if line.startswith("swath-")] == [each for each in page if " inspect " not in each]


def test_the_mission_of_the_report_page_survives_its_kill_and_its_figures_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "of the training mean's error" in walk("report.md", "short.toml")
    assert "Error against mission time" in Path("short/report.html").read_text(encoding="utf-8")


def test_the_learner_of_its_page_keeps_every_promise_and_flies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = (DOCS / "your-learner.md").read_text(encoding="utf-8")
    Path("colour.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1], encoding="utf-8")
    install(tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.S)[1])["project"])
    printed = "".join(run(command) for command in commands_of(text))
    assert "keeps every promise" in printed
    assert re.search(r"colour.*\n", printed)
    summary = json.loads(Path("colour/summary.json").read_text(encoding="utf-8"))
    assert summary["learner"] == "colour" and summary["completed"]
    assert summary["mae_soft"] < summary["tasks"][0]["baselines"]["training mean"]["mae_soft"]


def install(project):
    """What pip leaves behind of a project: its entry points, on the path."""
    place = Path(f"{project['name']}-{project['version']}.dist-info")
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
             for group, points in project["entry-points"].items()]  # fmt: skip
    (place / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def test_the_mission_of_the_board_page_flies_on_another_process_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo.toml").write_text(
        "duration_h = 12.0\n[world]\nrows = 8\ncols = 8\nmunicipalities = 12\n", encoding="utf-8"
    )
    text = (DOCS / "flatsat.md").read_text(encoding="utf-8")
    keys, copy, fly = re.findall(r"^desk\$ (.*)$", text, re.M)
    look, listen = (shlex.split(command)[1:] for command in re.findall(r"^board\$ (.*)$", text, re.M))
    run(keys)
    shutil.copytree(shlex.split(copy)[2], "board")  # what scp does
    assert flight(look) == 0
    board = subprocess.Popen(
        [sys.executable, "-m", "flight.cli", *listen, "--at", "tcp://127.0.0.1:*"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = re.search(r":(\d+)$", board.stdout.readline())[1]
        run(fly.replace("run demo", "run demo.toml").replace("BOARD:7700", f"127.0.0.1:{port}"))
    finally:
        board.terminate()
        assert board.wait(20) == 0
        board.stdout.close()
    assert json.loads(Path("runs/demo/summary.json").read_text(encoding="utf-8"))["chips_per_s"] > 0
