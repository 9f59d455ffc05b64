"""The XTCE file: valid by OMG's schema, and enough for a decoder that knows nothing else of swath."""

import pytest
import space_packet_parser
from hypothesis import given, settings
from lxml import etree
from space_packet_parser import XtcePacketDefinition

from flight.link.definitions import ACKNOWLEDGEMENT, EVENTS, TELECOMMANDS, TELEMETRY
from flight.link.dictionary import encode
from flight.link.frame import Direction
from flight.link.packet import Apid, Packer
from ground.xtce import NAMESPACE, document
from tests.link.test_dictionary import packets

DOWN = (*TELEMETRY, *EVENTS, ACKNOWLEDGEMENT)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("xtce") / "swath.xml"
    path.write_text(document(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reader(path):
    return XtcePacketDefinition.from_xtce(path, root_container_name="SpacePacket")


def valid(source, level):
    """Whether it is valid; the reader's package holds OMG's schema of 2018-02-04, so nothing is fetched."""
    options = {"print_results": False, "raise_on_error": False, "allow_schema_download": False}
    return space_packet_parser.validate_xtce(source, level=level, **options)


def test_the_file_is_valid_by_the_schema_of_omg(path):
    result = valid(path, "schema")
    assert result.valid, result.errors
    wrong = etree.parse(path)
    wrong.find(f".//{{{NAMESPACE}}}Comparison").set("parameterReff", "apid")
    assert not valid(wrong, "schema").valid


def test_the_file_is_sound_by_the_rules_that_no_schema_states(path):
    result = valid(path, "structure")
    assert result.valid, result.errors


def test_a_reader_that_knows_only_the_file_decodes_every_packet_that_comes_down(reader):
    @settings(max_examples=300, deadline=None)
    @given(packets(DOWN))
    def check(packet):
        declared, values = packet
        apid, body = encode(declared.name, values, 77)
        found = reader.parse_bytes(Packer(Direction.DOWNLINK).pack(apid, body))
        assert found["packet_id"] == declared.id and found["apid"] == apid
        if declared is ACKNOWLEDGEMENT:
            assert found["command_number"] == 77
        for field in declared.fields:
            name = "t_s" if field.name == "t_s" else f"{declared.name}_{field.name}"
            assert found[name] == values[field.name], name

    check()


def test_every_telecommand_is_in_the_file_with_its_layout_and_its_weight(path):
    root = etree.parse(path)
    for declared in TELECOMMANDS:
        (command,) = root.xpath(f"//x:MetaCommand[@name='{declared.name}']", namespaces={"x": NAMESPACE})
        fixed = command.findall(f".//{{{NAMESPACE}}}FixedValueEntry")
        header = Packer(Direction.UPLINK).pack(Apid.COMMAND, bytes([0, declared.id]))
        assert [int(each.get("binaryValue"), 16) for each in fixed] == [
            int.from_bytes(header[:2], "big"),
            int.from_bytes(header[2:4], "big"),
            0,
            declared.id,
        ]
        level = command.find(f"{{{NAMESPACE}}}DefaultSignificance").get("consequenceLevel")
        assert level == declared.criticality
        assert len(command.findall(f".//{{{NAMESPACE}}}Argument")) == 1 + len(declared.fields) + sum(
            field.sized for field in declared.fields
        )
