"""The dictionary as XTCE 1.2 (OMG formal/18-10-04): one SpaceSystem with every packet down and every telecommand up.

What travels is Space Packets, so the containers begin with the primary header of CCSDS 133.0-B. A text, or bytes of no
fixed length, becomes two entries: its length octet, and the octets themselves with a dynamic size.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from flight.link import cuc
from flight.link.dictionary import TABLES
from flight.link.packet import TIMED, Apid
from flight.link.schema import Definition, Field

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"
SCHEMA = "http://www.omg.org/spec/XTCE/20180204/SpaceSystem.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
PRIMARY_HEADER = (
    ("version", 3),
    ("type", 1),
    ("secondary_header", 1),
    ("apid", 11),
    ("sequence_flags", 2),
    ("sequence_count", 14),
    ("data_length", 16),
)
_ID = Field("packet_id", "int", high=255, help="which packet of its APID")
_NUMBER = Field("command_number", "int", high=0xFFFFFFFF, help="number of the telecommand")


def document(name: str = "swath") -> str:
    """The whole dictionary as an XTCE file."""
    root = Element("SpaceSystem", {"name": name, "xmlns": NAMESPACE, "xmlns:xsi": _INSTANCE})
    root.set("xsi:schemaLocation", f"{NAMESPACE} {SCHEMA}")
    _telemetry(root)
    _commands(root)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _entries(declared: Definition, separator: str = ".") -> list[tuple[str, Field, str]]:
    """(name, field, name of its length) of everything that a definition packs, lengths as fields of their own."""
    found = []
    for field in declared.fields:
        own = f"{declared.name}{separator}{field.name}".replace(".", "_")
        if field.sized:
            length = Field(f"{field.name}_length", "int", field.low, field.high, "bytes", f"length of {field.name}")
            found.append((f"{own}_length", length, ""))
        found.append((own, field, f"{own}_length" if field.sized else ""))
    return found


# Telemetry


def _telemetry(root: Element) -> None:
    meta = SubElement(root, "TelemetryMetaData")
    types, parameters = SubElement(meta, "ParameterTypeSet"), SubElement(meta, "ParameterSet")
    containers = SubElement(meta, "ContainerSet")

    def parameter(name: str, field: Field, length: str = "", bits: int = 0) -> None:
        _type(types, "Parameter", f"{name}_type", field, length, bits)
        SubElement(parameters, "Parameter", name=name, parameterTypeRef=f"{name}_type", shortDescription=field.help)

    for name, bits in PRIMARY_HEADER:
        parameter(name, Field(name, "int", high=(1 << bits) - 1, help="primary header, CCSDS 133.0-B"), bits=bits)
    parameter("t_s", Field("t_s", "time", unit="s", help="on-board time"))
    parameter(_ID.name, _ID)
    parameter(_NUMBER.name, _NUMBER)
    header = [name for name, _ in PRIMARY_HEADER]
    _container(containers, "SpacePacket", header, "", {}, abstract=True)
    _container(containers, "TimedPacket", ["t_s", _ID.name], "SpacePacket", {"type": 0, "secondary_header": 1}, True)
    plain = [_ID.name, _NUMBER.name]
    _container(containers, "PlainPacket", plain, "SpacePacket", {"type": 0, "secondary_header": 0}, True)
    for apid, table in TABLES.items():
        if apid is Apid.COMMAND:
            continue
        for declared in table:
            base = "TimedPacket" if apid in TIMED else "PlainPacket"
            fields = [entry for entry in _entries(declared) if entry[1].name != "t_s"]
            for name, field, length in fields:
                parameter(name, field, length)
            names = [name for name, _, _ in fields]
            where = {"apid": int(apid), _ID.name: declared.id}
            _container(containers, declared.name, names, base, where, about=declared.help)


def _container(
    parent: Element,
    name: str,
    entries: list[str],
    base: str,
    where: dict[str, int],
    abstract: bool = False,
    about: str = "",
) -> None:
    container = SubElement(parent, "SequenceContainer", name=name, abstract=str(abstract).lower())
    if about:
        SubElement(container, "LongDescription").text = about
    listed = SubElement(container, "EntryList")
    for entry in entries:
        SubElement(listed, "ParameterRefEntry", parameterRef=entry)
    if base:
        inherited = SubElement(container, "BaseContainer", containerRef=base)
        criteria = SubElement(SubElement(inherited, "RestrictionCriteria"), "ComparisonList")
        for parameter, value in where.items():
            SubElement(criteria, "Comparison", parameterRef=parameter, value=str(value), useCalibratedValue="false")


# Telecommands


def _commands(root: Element) -> None:
    meta = SubElement(root, "CommandMetaData")
    types, commands = SubElement(meta, "ArgumentTypeSet"), SubElement(meta, "MetaCommandSet")
    _type(types, "Argument", f"{_NUMBER.name}_type", _NUMBER)
    for declared in TABLES[Apid.COMMAND]:
        _command(types, commands, declared)


def _command(types: Element, commands: Element, declared: Definition) -> None:
    command = SubElement(commands, "MetaCommand", name=declared.name)
    SubElement(command, "LongDescription").text = declared.help
    arguments = SubElement(command, "ArgumentList")
    container = SubElement(command, "CommandContainer", name=f"{declared.name}_packet")
    listed = SubElement(container, "EntryList")
    # Version 0, type 1, no secondary header; unsegmented. Who sends it fills in sequence count and data length.
    _fixed(listed, "packet_identification", f"{0x1000 | Apid.COMMAND:04X}")
    _fixed(listed, "packet_sequence_control", "C000")
    _fixed(listed, "packet_data_length", "0000")
    _fixed(listed, _ID.name, f"{declared.id:02X}")
    entries = _entries(declared)
    for name, field, length in entries:
        _type(types, "Argument", f"{name}_type", field, length)
    for name, field, _ in [(_NUMBER.name, _NUMBER, ""), *entries]:
        SubElement(arguments, "Argument", name=name, argumentTypeRef=f"{name}_type", shortDescription=field.help)
        SubElement(listed, "ArgumentRefEntry", argumentRef=name)
    why = {"reasonForWarning": "needs an arm telecommand before it"} if declared.criticality == "critical" else {}
    SubElement(command, "DefaultSignificance", consequenceLevel=declared.criticality, **why)


def _fixed(listed: Element, name: str, octets: str) -> None:
    SubElement(listed, "FixedValueEntry", name=name, binaryValue=octets, sizeInBits=str(4 * len(octets)))


# Types


def _type(parent: Element, of: str, name: str, field: Field, length: str = "", bits: int = 0) -> None:
    """The type of one parameter or argument (`of`), with its encoding, unit and range."""
    size = str(bits or 8 * field.value_bytes)
    if field.kind == "time":
        made = SubElement(parent, f"AbsoluteTime{of}Type", name=name)
        encoding = SubElement(made, "Encoding", units="seconds", scale=repr(1 / cuc.TICKS))
        SubElement(encoding, "IntegerDataEncoding", sizeInBits=size, encoding="unsigned")
        SubElement(SubElement(made, "ReferenceTime"), "Epoch").text = cuc.EPOCH
        return
    kind = {"int": "Integer", "float": "Float", "text": "String", "bytes": "Binary", "choice": "Enumerated"}
    made = SubElement(parent, f"{kind[field.kind]}{of}Type", name=name)
    units = SubElement(made, "UnitSet")
    if field.unit:
        SubElement(units, "Unit").text = field.unit
    if field.kind == "choice":
        SubElement(made, "IntegerDataEncoding", sizeInBits=size, encoding="unsigned")
        listed = SubElement(made, "EnumerationList")
        for value, label in enumerate(field.choices):
            SubElement(listed, "Enumeration", value=str(value), label=label)
    elif field.kind == "int":
        made.set("signed", str(field.signed).lower())
        made.set("sizeInBits", size)
        encoding = "twosComplement" if field.signed else "unsigned"
        SubElement(made, "IntegerDataEncoding", sizeInBits=size, encoding=encoding)
        _range(made, of, str(int(field.low)), str(int(field.high)))
    elif field.kind == "float":
        made.set("sizeInBits", size)
        SubElement(made, "FloatDataEncoding", sizeInBits=size, encoding="IEEE754_1985")
        _range(made, of, repr(float(field.low)), repr(float(field.high)))
    elif field.kind == "text":
        encoding_ = SubElement(made, "StringDataEncoding", encoding="US-ASCII")
        _size(SubElement(encoding_, "Variable", maxSizeInBits=size), of, length)
    else:
        sized = SubElement(SubElement(made, "BinaryDataEncoding"), "SizeInBits")
        if length:
            _size(sized, of, length)
        else:
            SubElement(sized, "FixedValue").text = size


def _range(made: Element, of: str, low: str, high: str) -> None:
    inside = made if of == "Parameter" else SubElement(made, "ValidRangeSet")
    SubElement(inside, "ValidRange", minInclusive=low, maxInclusive=high)


def _size(parent: Element, of: str, length: str) -> None:
    """A size in bits: eight times the length octet."""
    dynamic = SubElement(parent, "DynamicValue")
    SubElement(dynamic, f"{of}InstanceRef", {f"{of.lower()}Ref": length})
    SubElement(dynamic, "LinearAdjustment", slope="8", intercept="0")
