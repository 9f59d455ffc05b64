"""What --help says is what was written."""

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from flight import __version__
from ground.cli import app as ground_app
from sim.cli import app as sim_app


def helps(command, path=()):
    """The help of every option and argument below a command, by where it stands."""
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, (*path, name))
    for each in command.params:
        if getattr(each, "help", None):
            yield (*path, each.name), each.help


@pytest.mark.parametrize("app", [ground_app, sim_app], ids=["swath-ground", "swath-sim"])
def test_no_word_in_brackets_is_lost_from_the_help_as_markup(app):
    found = list(helps(typer.main.get_command(app)))
    assert len(found) > 20
    assert [where for where, text in found if Text.from_markup(text).plain.count("[") != text.count("[")] == []


@pytest.mark.parametrize(("app", "name"), [(ground_app, "swath-ground"), (sim_app, "swath-sim")])
def test_command_lines_tell_their_version(app, name):
    found = CliRunner().invoke(app, ["--version"])
    assert (found.exit_code, found.stdout.strip()) == (0, f"{name} {__version__}")


def test_the_desk_lists_first_what_a_newcomer_looks_for():
    listed = typer.main.get_command(ground_app).list_commands(None)
    assert listed[:4] == ["dataset", "labels", "region", "products"]
    assert sorted(listed) == sorted(typer.main.get_command(ground_app).commands)
