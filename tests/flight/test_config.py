"""One table of limits, and errors that say which field."""

import dataclasses

import pytest

from flight.config import ConfigError, FlightConfig, LinkConfig, build, dump, load
from flight.link.endpoint import Endpoint
from tests.flight.flight_world import KEYS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"link": {"frame_bytes": 64}}, "link.frame_bytes: 64 is not between 160 and 1024"),
        ({"link": {"uplink_bps": float("nan")}}, "link.uplink_bps: nan is not between"),
        ({"link": {"frame_bytes": 200.0}}, "link.frame_bytes: expected int, found 200.0"),
        ({"link": {"frame_bytes": True}}, "link.frame_bytes: expected int, found True"),
        ({"executive": {"cycle": 1}}, "executive.cycle: unknown field; known are "),
        ({"motors": {}}, "motors: unknown field; known are "),
        ({"caps": 3}, "caps: expected a table, found int"),
        ({"learner": {"name": 3}}, "learner.name: expected str, found 3"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(values, message):
    with pytest.raises(ConfigError) as told:
        build(FlightConfig, values)
    assert str(told.value).startswith(message)


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path):
    path = tmp_path / "flight.toml"
    path.write_text("[costs]\nchip_s = 1\n[learner]\nseed = 4\n")
    config = load(path)
    assert (config.costs.chip_s, config.learner.seed) == (1.0, 4)
    assert config.link == LinkConfig()
    assert build(FlightConfig, dump(config)) == config


@pytest.mark.parametrize(("content", "message"), [(b"[link", "flight.toml: "), (b"\xff\xfe", "flight.toml: ")])
def test_a_file_that_is_not_toml_is_named(content, message, tmp_path):
    path = tmp_path / "flight.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")


def test_defaults_lie_in_their_ranges_and_every_number_has_a_word_on_it():
    config = FlightConfig()
    assert build(FlightConfig, dump(config)) == config
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for field in dataclasses.fields(values[0] if isinstance(values, tuple) else values):
            if field.type != "str":
                assert field.metadata["help"], f"{section.name}.{field.name}"


@pytest.mark.parametrize("end", ["low", "high"])
def test_every_frame_size_that_is_allowed_makes_a_link(end):
    field = next(field for field in dataclasses.fields(LinkConfig) if field.name == "frame_bytes")
    Endpoint("space", LinkConfig(frame_bytes=field.metadata[end]), KEYS)
