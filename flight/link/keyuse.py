"""Which keys of the key file an end uses, and the change from one to the other without a moment in which neither works.

The telecommand ``rotate-key`` makes before it breaks, in three steps, of which each waits for proof of the one before:

    1. space executes it: the key is good from now on, beside the one in use; this is saved, then acknowledged
    2. ground hears the acknowledgement: it sends with the new key from now on
    3. space hears a frame with the new key: it sends with it too, and no other key is good any longer;
       ground hears one, and for ground no other key is good any longer either

A lost telecommand or acknowledgement delays a step, and frames with the old key are good until it is done. A change
back to an earlier key admits frames from the time when that was in use: one that was lost then, and is replayed or late
now, proves nothing, as its counter is no greater than those before step 1. Ids alone are kept here: a key never leaves
the key ring.
"""

from __future__ import annotations

from typing import Any

from flight.link import state
from flight.link.errors import LinkError, LinkFullError

NOTHING = -1  # in saved states


class KeyUse:
    """The key that an end sends with, and those that it accepts, of the key file's `key_ids` and `active` one.

    `newest` is the greatest frame counter that has been accepted, -1 before the first.
    """

    def __init__(self, key_ids: tuple[int, ...], active: int) -> None:
        self._key_ids = key_ids
        self._active = active
        self.sending = active
        self.accepted = frozenset(key_ids)
        self.successor: int | None = None  # the others are retired once it is heard
        self.newest = self._before = -1  # the latter: when the successor was admitted
        self.order: tuple[int, int] | None = None  # telecommand and key of the change that ground waits for

    def check_order(self, key_id: int, number: int | None) -> None:
        """Ground may order a change to this key: LinkError if it has none such, LinkFullError while one is on."""
        self._check(key_id)
        busy = self.order is not None and self.order[0] != number
        if busy or (self.successor is not None and self.order is None):
            raise LinkFullError("a change of keys is under way: wait until a frame with the new key has come down")

    def ordered(self, number: int, key_id: int) -> None:
        """Ground sends a telecommand for a change: the key is good from now on."""
        self.order = (number, key_id)
        self.accepted |= {key_id}

    def acknowledged(self, number: int, done: bool) -> None:
        """Ground has heard what became of a telecommand: if it was the change, send with the new key."""
        if self.order is None or self.order[0] != number:
            return
        if done:
            self.sending = self.successor = self.order[1]
        self.order = None

    def admit(self, key_id: int) -> None:
        """Space executes a change: the key is good from now on, and the only one once it is heard."""
        self._check(key_id)
        self.accepted |= {key_id}
        self.successor, self._before = key_id, self.newest

    def heard(self, key_id: int, counter: int) -> bool:
        """An authentic frame came with this key and counter: True if that ends a change."""
        if key_id != self.successor or counter <= self._before:
            return False
        self.sending, self.accepted, self.successor = key_id, frozenset({key_id}), None
        return True

    def _check(self, key_id: int) -> None:
        if key_id not in self._key_ids:
            raise LinkError(f"key {key_id} is in no slot, only {sorted(self._key_ids)}")

    def save(self) -> dict[str, Any]:
        """Ids only, and the key file that they belong to."""
        return {
            "file": [*self._key_ids, self._active],
            "sending": self.sending,
            "accepted": sorted(self.accepted),
            "successor": NOTHING if self.successor is None else self.successor,
            "order": list(self.order or ()),
        }

    def restore(self, saved: Any, newest: int) -> None:
        """Go on as saved, after frames with counters up to `newest`.

        Unless the key file has changed: other ids, or an active key that was not in use, count.
        """
        self.newest = self._before = newest  # no less than it was at step 1, and none with the successor was heard
        path = "security.keys"
        file, sending, accepted, successor, order = state.fields(
            saved, path, file=list, sending=int, accepted=list, successor=int, order=list
        )
        known = set(self._key_ids)
        if file[:-1] != list(self._key_ids) or (file[-1] != self._active != sending):
            return
        state.check(sending in known, f"{path}.sending", sending)
        state.check(bool(accepted) and all(each in known for each in accepted), f"{path}.accepted", accepted)
        state.check(successor in known | {NOTHING}, f"{path}.successor", successor)
        state.check(not order or (len(order) == 2 and order[1] in known), f"{path}.order", order)
        self.sending, self.accepted = sending, frozenset(accepted)
        self.successor = None if successor == NOTHING else successor
        self.order = (order[0], order[1]) if order else None
