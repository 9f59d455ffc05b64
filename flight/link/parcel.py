"""Whole files that are used as they are: an update for the spacecraft, and a model as it comes down.

Both name themselves, carry the SHA-256 of their content, and are decoded within a limit:

    fields   version, region id, task id, label version, length of the name, length of the content
    raw      SHA-256 of the content (FIPS 180-4)
    content  name and content, as one (`flight.link.content`)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from flight.kernels import PYTHON

from . import content as coded
from . import pack as wire
from .pack import MAX_NAME_BYTES, CodecError

SHA256_BYTES = 32


@dataclass(frozen=True)
class Update:
    """A new content for a slot on board, "parameters" for example; the ground numbers its versions from 1."""

    slot: str
    version: int
    content: bytes


@dataclass(frozen=True)
class Model:
    """Trained weights, as `Learner.weights` gives them, of a learner by name; what they were trained for."""

    learner: str
    region_id: int
    task_id: int
    label_version: int
    weights: bytes


def digest(content: bytes) -> bytes:
    """SHA-256 of a content: 32 bytes, of which telemetry shows the first 8."""
    return hashlib.sha256(content).digest()


def pack_update(update: Update, backend: str = PYTHON) -> bytes:
    """The update as a file."""
    if update.version < 1:
        raise CodecError(f"update: version is {update.version}; versions are numbered from 1")
    return _pack(wire.UPDATE, update.slot, (update.version, 0, 0, 0), update.content, backend)


def unpack_update(data: bytes, max_bytes: int, backend: str = PYTHON) -> Update:
    """The update in a file, whose content has at most `max_bytes`; CodecError for anything else."""
    name, (version, *_), content = _unpack(wire.UPDATE, data, max_bytes, backend)
    if version < 1:
        raise CodecError("update: version is 0; versions are numbered from 1")
    return Update(name, version, content)


def pack_model(model: Model, backend: str = PYTHON) -> bytes:
    """The model as a file."""
    fields = (0, model.region_id, model.task_id, model.label_version)
    return _pack(wire.MODEL, model.learner, fields, model.weights, backend)


def unpack_model(data: bytes, max_bytes: int, backend: str = PYTHON) -> Model:
    """The model in a file, whose weights have at most `max_bytes`; CodecError for anything else."""
    name, (_, region_id, task_id, label_version), weights = _unpack(wire.MODEL, data, max_bytes, backend)
    return Model(name, region_id, task_id, label_version, weights)


def _pack(kind: bytes, name: str, fields: tuple[int, ...], content: bytes, backend: str) -> bytes:
    encoded = wire.join_names((name,), "name")
    head = (*fields, len(encoded), len(content))
    return coded.pack(kind, head, digest(content), encoded + content, wire.crc(fields, encoded, content), backend)


def _unpack(kind: bytes, data: bytes, max_bytes: int, backend: str) -> tuple[str, tuple[int, ...], bytes]:
    reader = wire.Reader(kind, data, coded.FORMS)
    fields = tuple(reader.integer(name) for name in ("version", "region id", "task id", "label version"))
    name_bytes = reader.integer("the length of the name", 2, MAX_NAME_BYTES + 1)
    size = reader.integer("the length of the content", 1, max_bytes)
    expected = reader.raw("the SHA-256", SHA256_BYTES)
    both = coded.read(reader, "the content", name_bytes + size, backend)
    encoded, content = both[:name_bytes], both[name_bytes:]
    reader.finish(wire.crc(fields, encoded, content))
    if digest(content) != expected:
        raise reader.error(
            f"the SHA-256 of the content is {digest(content).hex()[:16]}..., not {expected.hex()[:16]}..."
        )
    return wire.split_names(encoded, 1, "name")[0], fields, content
