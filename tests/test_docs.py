"""Pages that are made from the code say what the code says, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from ground.reference import page as dictionary_reference
from sim.plan import make_plan
from sim.scenario import load_scenario
from sim.scenario import reference as scenario_reference

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


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


def test_an_empty_scenario_can_be_flown(tmp_path):
    path = tmp_path / "empty.toml"
    path.touch()
    assert make_plan(load_scenario(str(path))).overpasses


def test_the_site_leads_to_every_page():
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/api/*.md")), ids=lambda page: page.name)
def test_the_reference_names_modules_that_exist(page):
    for module in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or path.is_dir(), module
