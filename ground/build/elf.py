"""The symbols that a shared object needs: its dynamic symbol table, read without any tool of the target.

System V ABI, "Object Files": file header, section headers and symbol table, of either class, little-endian.
"""

from __future__ import annotations

import struct

_DYNSYM = 11  # SHT_DYNSYM
_LAYOUTS = {  # by EI_CLASS: file header, section header, symbol; where they have what is wanted here
    1: (struct.Struct("<16s2H5I6H"), struct.Struct("<10I"), struct.Struct("<3I2BH"), 5),
    2: (struct.Struct("<16s2HI3QI6H"), struct.Struct("<2I4Q2I2Q"), struct.Struct("<I2BH2Q"), 3),
}


def undefined_symbols(data: bytes) -> set[str]:
    """Names that a little-endian ELF shared object `data` needs from elsewhere; ValueError if it is none."""
    if data[:4] != b"\x7fELF" or len(data) < 64 or data[4] not in _LAYOUTS or data[5] != 1:
        raise ValueError("not a little-endian ELF file")
    head, section, symbol, shndx = _LAYOUTS[data[4]]
    fields = head.unpack_from(data)
    at, size, number = fields[6], fields[11], fields[12]
    sections = [section.unpack_from(data, at + i * size) for i in range(number)]
    found = set()
    for each in sections:
        if each[1] != _DYNSYM:
            continue
        names = sections[each[6]]
        for place in range(each[4] + symbol.size, each[4] + each[5], symbol.size):
            entry = symbol.unpack_from(data, place)
            if entry[shndx] == 0:
                start = names[4] + entry[0]
                found.add(data[start : data.index(b"\0", start)].decode("ascii", "replace"))
    return found
