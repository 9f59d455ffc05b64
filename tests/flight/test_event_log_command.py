"""`get-event-log` from the telecommand to what the ground reads."""

import json

from typer.testing import CliRunner

from flight.link import event_log
from flight.link.events import FileReceived
from flight.link.packet import FileKind
from ground.cli import app
from tests.flight.flight_world import World


def received(world: World) -> list[FileReceived]:
    return [each for each in world.of(FileReceived) if each.file.kind is FileKind.EVENT_LOG]


def test_the_event_log_comes_down_with_every_event_and_every_count(tmp_path):
    world = World(tmp_path)
    world.contact()
    assert world.command("set-task", task_id=9)[0] == "rejected"
    assert world.command("get-event-log") == ("executed", "")
    world.until(lambda: received(world))
    (event,) = received(world)
    log = event_log.unpack(event.file.data)
    assert log.incarnation == world.flight.incarnation == 1
    assert dict(log.counts) == {"restarted": 1, "command-rejected": 1}
    assert [each.name for each in log.events] == ["restarted", "command-rejected"]
    assert log.events[1].values["reason"] == "no label set of task 9 on board"
    assert log.events[0].values["t_s"] <= log.events[1].values["t_s"] <= log.made_s
    assert event.file.name == "event-log-1-2"
    path = tmp_path / event.file.name
    path.write_bytes(event.file.data)
    facts = json.loads(CliRunner().invoke(app, ["products", "inspect", str(path), "--json"]).stdout)
    assert [each["name"] for each in facts["events"]] == ["restarted", "command-rejected"]


def test_a_later_log_has_a_name_of_its_own(tmp_path):
    world = World(tmp_path)
    world.contact()
    for n in (1, 2):
        world.command("get-event-log")
        world.until(lambda n=n: len(received(world)) == n)
        world.command("set-task", task_id=9)
    names = [each.file.name for each in received(world)]
    assert names == ["event-log-1-1", "event-log-1-2"]
