"""Updates on board: each named slot has the content in use, and the one before it to go back to.

A new content is checked, written beside the others, marked in the index as on trial, and tried. If its slot takes it,
self-test included, one atomic write of the index makes it the one in use; else the one in use is taken up again, and an
event says so. A process that dies during a trial finds the mark when it comes back, and gives the content up. So at
every instant the index names one whole content of each slot, or none, which stands for what flight was started with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from flight.errors import RefusedError
from flight.kernels import PYTHON
from flight.link import parcel
from flight.link.pack import CodecError
from flight.link.parcel import SHA256_BYTES, Update
from flight.store import StateFormatError, Store, StoreError, read_state
from flight.telemetry import short

INDEX, PREFIX = "updates", "update-"
FORMAT = 1
MAX_DEATHS = 2  # during the trial of one content; then it is refused
DIGEST_SHOWN = 8
_COPIES = 3  # places for contents: in use, the one before, and one being written


class UpdateError(ValueError):
    """A content that its slot cannot use; the message says why."""


@dataclass(frozen=True)
class Slot:
    """What may be updated.

    Attributes:
        max_bytes: greatest size of a content.
        check: raises UpdateError for a content that is wrong; changes nothing.
        use: puts a checked content in use and tests itself; UpdateError if that fails. None stands for no update.
    """

    max_bytes: int
    check: Callable[[bytes], None]
    use: Callable[[bytes | None], None]


@dataclass(frozen=True)
class Held:
    """A content on disk: where, its version and its SHA-256."""

    place: int
    version: int
    digest: bytes


@dataclass(frozen=True)
class SlotState:
    """Contents of a slot in use, before, and on trial; None in use stands for no update. `deaths` were in trials."""

    active: Held | None = None
    previous: Held | None = None
    trial: Held | None = None
    died: bytes = b""  # SHA-256 of the content that the process died with
    deaths: int = 0


class Updates:
    """The slots of one spacecraft, by name; no other name is accepted. `emit` logs an event."""

    def __init__(
        self, slots: Mapping[str, Slot], store: Store, emit: Callable[..., None], backend: str = PYTHON
    ) -> None:
        self.slots, self.store, self.emit = dict(slots), store, emit
        self._backend = backend  # of the kernels that decode
        self._states: dict[str, SlotState] = {name: SlotState() for name in self.slots}

    def start(self) -> None:
        """Put the contents on disk in use; what was on trial is given up, and so is what cannot be used any more."""
        saved = self.store.get(INDEX)
        if saved is not None:
            self._states.update(_read(saved, self.slots))
        for name in self.slots:
            state = self._states[name]
            if state.trial is not None:
                digest = state.trial.digest
                deaths = state.deaths + 1 if state.died == digest else 1
                self._give_up(name, state.trial, "the process died during its trial")
                self._settle(name, replace(state, trial=None, died=digest, deaths=deaths))
            if state.active is not None:
                self._use_active(name)
        self._clean()

    def receive(self, data: bytes) -> None:
        """Take in an update file; RefusedError if it cannot be one, or failed its trial, and then nothing has changed.

        StoreError if it could not be written; the same file may be given again.
        """
        limit = max((slot.max_bytes for slot in self.slots.values()), default=1)
        try:
            update = parcel.unpack_update(data, limit, self._backend)
        except CodecError as error:
            raise RefusedError(str(error)) from error
        slot = self.slots.get(update.slot)
        if slot is None:
            raise RefusedError(f"no slot {update.slot!r} for updates")
        if len(update.content) > slot.max_bytes:
            raise RefusedError(f"{len(update.content)} bytes, {update.slot} takes {slot.max_bytes}")
        state, digest = self._states[update.slot], parcel.digest(update.content)
        for held in (state.active, state.previous):
            if held is not None and held.version == update.version and held.digest != digest:
                raise RefusedError(f"version {update.version} is on board with another content")
        if state.active is not None and state.active.digest == digest and state.active.version == update.version:
            return  # a copy
        if state.died == digest and state.deaths >= MAX_DEATHS:
            raise RefusedError(f"the process died {state.deaths} times in its trial")
        try:
            slot.check(update.content)
        except UpdateError as error:
            raise RefusedError(str(error)) from error
        self._try(update, digest)

    def _try(self, update: Update, digest: bytes) -> None:
        """Write a checked content, put it in use on trial, and for good if it passes."""
        name, state = update.slot, self._states[update.slot]
        trial = Held(_free_place(state), update.version, digest)
        self.store.put(_record(name, trial.place), update.content, twice=True)
        self._put(name, replace(state, trial=trial))
        try:
            self.slots[name].use(update.content)
        except UpdateError as error:
            self._give_up(name, trial, str(error))
            self._settle(name, replace(state, trial=None))
            self._use_active(name)
            self._clean()
            raise RefusedError(f"self-test failed: {error}") from error
        self._put(name, SlotState(trial, state.active))
        self._clean()
        self._tell_active(name)

    def roll_back(self, name: str, version: int) -> None:
        """Leave `version` of a slot for what was in use before it; a copy of the same telecommand changes nothing.

        RefusedError if that version is not in use, or the one before it cannot be; StoreError if nothing could be
        written.
        """
        state = self._states.get(name)
        if state is None:
            raise RefusedError(f"no slot {name!r} for updates")
        if _version(state.active) != version and _version(state.previous) == version:
            return
        if state.active is None or state.active.version != version:
            raise RefusedError(f"version {version} is not in use, but {_version(state.active)}")
        self._put(name, SlotState(state.previous, state.active))
        self._use_active(name)
        if _version(self._states[name].active) == version:
            raise RefusedError(f"what was before version {version} cannot be used")
        self._tell_active(name)

    def active(self, name: str) -> bool:
        """Whether an update is in use in a slot."""
        return self._states[name].active is not None

    def status(self) -> list[dict[str, Any]]:
        """What is in use in each slot and what was before: the fields of the packet ``update-status``."""
        return [
            {
                "slot": name,
                "version": _version(state.active),
                "digest": _shown(state.active),
                "previous_version": _version(state.previous),
                "previous_digest": _shown(state.previous),
            }
            for name, state in self._states.items()
        ]

    def _use_active(self, name: str) -> None:
        """Put the active content of a slot in use; if it cannot be, the one before it, and at last none."""
        while True:
            state = self._states[name]
            try:
                self.slots[name].use(None if state.active is None else self._content(name, state.active))
            except UpdateError as error:
                self._give_up(name, state.active, str(error))
                if state.active is None:
                    return
                self._settle(name, replace(state, active=state.previous, previous=None))
            else:
                return

    def _content(self, name: str, held: Held) -> bytes:
        data = self.store.get(_record(name, held.place))
        if data is None or parcel.digest(data) != held.digest:
            raise UpdateError("its content on disk is damaged")
        self.slots[name].check(data)
        return data

    def _give_up(self, name: str, held: Held | None, reason: str) -> None:
        self.emit("update-rolled-back", slot=name, version=_version(held), reason=short(reason))

    def _settle(self, name: str, state: SlotState) -> None:
        """Go on with `state` even if it cannot be written: after a restart, the index leads to it again."""
        try:
            self._put(name, state)
        except StoreError as error:
            self.emit("write-failed", reason=short(error.strerror))
            self._states[name] = state

    def _put(self, name: str, state: SlotState) -> None:
        """The one write that changes what is in use; StoreError, and nothing has changed."""
        states = {**self._states, name: state}
        plain = {key: [*map(_plain, _contents(each)), each.died, each.deaths] for key, each in states.items()}
        self.store.put(INDEX, msgpack.packb({"format": FORMAT, "slots": plain}), twice=True)
        self._states = states

    def _clean(self) -> None:
        """Remove contents that nothing refers to; one that stays is in nobody's way."""
        held = {
            _record(name, each.place)
            for name, state in self._states.items()
            for each in _contents(state)
            if each is not None
        }
        with contextlib.suppress(OSError):
            for record in self.store.names():
                if record.startswith(PREFIX) and record not in held:
                    self.store.delete(record)

    def _tell_active(self, name: str) -> None:
        active = self._states[name].active
        self.emit("update-activated", slot=name, version=_version(active), digest=_shown(active))


def _contents(state: SlotState) -> tuple[Held | None, Held | None, Held | None]:
    return state.active, state.previous, state.trial


def _free_place(state: SlotState) -> int:
    taken = {held.place for held in (state.active, state.previous) if held is not None}
    return min(set(range(_COPIES)) - taken)


def _record(name: str, place: int) -> str:
    return f"{PREFIX}{name}-{place}"


def _version(held: Held | None) -> int:
    return 0 if held is None else held.version


def _shown(held: Held | None) -> bytes:
    return bytes(DIGEST_SHOWN) if held is None else held.digest[:DIGEST_SHOWN]


def _plain(held: Held | None) -> list[Any] | None:
    return None if held is None else [held.place, held.version, held.digest]


def _held(plain: Any) -> Held | None:
    if plain is None:
        return None
    place, version, digest = plain
    if place not in range(_COPIES) or not isinstance(version, int) or len(digest) != SHA256_BYTES:
        raise ValueError(f"content {place!r}, version {version!r}")
    return Held(place, version, digest)


def _read(saved: bytes, slots: Mapping[str, Slot]) -> dict[str, SlotState]:
    """States by slot from the index; those of slots that this software no longer has are forgotten."""
    plain = read_state(saved, INDEX, FORMAT)
    try:
        states = {
            name: SlotState(_held(active), _held(previous), _held(trial), bytes(died), int(deaths))
            for name, (active, previous, trial, died, deaths) in plain["slots"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateFormatError(f"{INDEX}: {error}") from error
    return {name: state for name, state in states.items() if name in slots}
