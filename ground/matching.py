"""Rows of a table to municipalities of a region: by code or by name, and what was probably meant where none fits."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence

from ground.columns import Entry
from ground.sheets import MAX_PROBLEMS

_TOTALS = (
    "total", "totals", "grand total", "all", "sum", "overall", "whole region", "españa", "spain", "france",
    "deutschland", "gesamt", "insgesamt", "summe", "ensemble", "somme", "totale", "suma", "national",
)  # fmt: skip


class Known:
    """The municipalities of a region, if there is one: `codes` in order, and `names` of some of them by code."""

    def __init__(self, codes: Sequence[str] | None, names: Mapping[str, str], by_name: bool) -> None:
        self.codes = None if codes is None else set(codes)
        self.names, self.by_name = names, by_name
        self._by_name: dict[str, list[str]] = {}
        for code, name in names.items():
            if self.codes is None or code in self.codes:
                self._by_name.setdefault(_plain(name), []).append(code)
        self._told = 0

    def has(self, code: str) -> bool:
        """Whether `code` (or a name, where the table goes by names) is a municipality of the region."""
        if self.by_name:
            return _plain(code) in self._by_name
        return self.codes is not None and code in self.codes

    def code(self, entry: Entry, found: list[str]) -> str:
        """The code that a row is about; what does not fit is appended to `found`."""
        if not self.by_name:
            if self.codes is not None and entry.code not in self.codes:
                found.append(
                    f"{entry.place}: municipality {entry.code!r} is not in the region{self.advice(entry.code)}"
                )
            return entry.code
        fitting = self._by_name.get(_plain(entry.code), [])
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            shared = f"is the name of {len(fitting)} municipalities ({', '.join(fitting)})"
            found.append(f"{entry.place}: {entry.code!r} {shared}; a table by names cannot tell them apart: use codes")
        else:
            close = self._close(entry.code, [self.names[codes[0]] for codes in self._by_name.values()])
            found.append(f"{entry.place}: no municipality of the region is named {entry.code!r}{close}")
        return entry.code

    def advice(self, code: str) -> str:
        """What was probably meant by a code that is not in the region."""
        if self.codes is None:
            return ""
        padded = next((code.zfill(n) for n in range(len(code) + 1, len(code) + 6) if code.zfill(n) in self.codes), None)
        if padded:
            return f", but {padded!r} is: were leading zeros lost? (--zero-pad {len(padded)} restores them)"
        first = code.split()[0] if code.split() else ""
        if first in self.codes:
            return f", but {first!r} is: keep the code alone in its column"
        if _plain(code) in self._by_name:
            return f", but {self._by_name[_plain(code)][0]!r} has that name: say --by-name"
        return self._close(code, sorted(self.codes)) or "; check the code or leave the row out"

    def _close(self, text: str, among: list[str]) -> str:
        """The nearest matches; only as often as they are shown, for looking takes long."""
        self._told += 1
        if self._told > MAX_PROBLEMS:
            return ""
        close = difflib.get_close_matches(text, among, 3, 0.6)
        return f"; nearest are {', '.join(map(repr, close))}: check it or leave the row out" if close else ""


def looks_like_total(code: str, name: str, known: Known) -> bool:
    """Whether a row that is no municipality's is called a total."""
    if known.has(code):
        return False
    return any(_plain(text) in _TOTALS or _plain(text).startswith(("total ", "total:")) for text in (code, name))


def _plain(text: str) -> str:
    """A name without case, accents' encoding, and spaces too many."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
