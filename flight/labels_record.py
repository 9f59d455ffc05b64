"""The record of a label set on disk: the table as it was decoded.

A delta cannot be decoded again once its base has been replaced, and decoding takes seconds on a small processor: so a
restart reads counts, not the file that the link brought. The store keeps a CRC of each record.
"""

from __future__ import annotations

import msgpack
import numpy as np

from flight.link.labelset import LabelSet
from flight.link.pack import CodecError

_FORMAT = 1


def dump(labels: LabelSet) -> bytes:
    """`labels`, whose proportions are counts / levels, as a record."""
    present = ~labels.missing
    return bytes(
        msgpack.packb(
            {
                "format": _FORMAT,
                "ids": [labels.region_id, labels.task_id, labels.version],
                "classes": list(labels.classes),
                "levels": labels.levels,
                "activate": labels.activate,
                "rows": len(present),
                "present": np.packbits(present).tobytes(),
                "counts": labels.counts[present].tobytes(),
            }
        )
    )


def load(data: bytes) -> LabelSet:
    """The label set in a record; CodecError if it is none."""
    try:
        state = msgpack.unpackb(data)
        if state["format"] != _FORMAT:
            raise CodecError(f"record of a label set: format {state['format']!r}, this version reads {_FORMAT}")
        classes, rows = tuple(state["classes"]), state["rows"]
        present = np.unpackbits(np.frombuffer(state["present"], np.uint8), count=rows).astype(bool)
        counts = np.zeros((rows, len(classes)), np.uint8)
        counts[present] = np.frombuffer(state["counts"], np.uint8).reshape(-1, len(classes))
        empty = np.full(counts.shape, np.nan, np.float32)
        region_id, task_id, version = state["ids"]
        labels = LabelSet(region_id, task_id, version, classes, empty, state["levels"], state["activate"])
        return labels.with_counts(counts, present)
    except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise error if isinstance(error, CodecError) else CodecError(f"record of a label set: {error}") from error
