"""Content of any kind in a file: one block of bytes, range-coded if it is small enough for that, or deflated.

The range coder (`flight.kernels.bytewise`) takes fewer bytes and more time than deflate. So content of more than
`MAX_RANGE_BYTES` is always deflated, smaller content is coded in whichever way gives the smaller file, and the envelope
says which. A reader refuses range-coded content above that size before it decodes any of it, which bounds its time.
"""

from __future__ import annotations

from flight import kernels
from flight.kernels.buffers import bytewise

from . import coder
from . import pack as wire

MAX_RANGE_BYTES = 16384
FORMS = (wire.DEFLATE, wire.RANGE)


def pack(kind: bytes, head: tuple[int, ...], raw: bytes, body: bytes, crc: int, backend: str = kernels.PYTHON) -> bytes:
    """A file of `kind`: the integers of `head`, the bytes of `raw` as they are, and `body`, coded."""
    files = []
    for form in FORMS if len(body) <= MAX_RANGE_BYTES else (wire.DEFLATE,):
        out = wire.Writer(kind, form)
        out.integer(*head)
        out.raw(raw)
        if form == wire.RANGE:
            out.raw(encode(body, backend))
        else:
            out.block(body)
        files.append(out.finish(crc))
    return min(files, key=len)


def read(reader: wire.Reader, name: str, size: int, backend: str = kernels.PYTHON) -> bytes:
    """The body of a file, its last part, which has `size` bytes; CodecError if it is anything else."""
    if reader.form == wire.DEFLATE:
        return reader.block(name, size)
    if size > MAX_RANGE_BYTES:
        raise reader.error(f"{name} has {size} bytes; above {MAX_RANGE_BYTES} it is deflated, not range-coded")
    return reader.decoded(decode, reader.rest(), size, backend)


def encode(data: bytes, backend: str = kernels.PYTHON) -> bytes:
    """`data` as a stream of the range coder."""
    stream = coder.encoder(2 * len(data) + 64, backend)
    _code(stream, kernels.octets(data, backend), backend)
    return stream.finish()


def decode(data: bytes, size: int, backend: str = kernels.PYTHON) -> bytes:
    """The `size` bytes in a stream; CodecError if it is not exactly that."""
    stream = coder.decoder(data, 8 * size, backend)
    text = kernels.octets(size, backend)
    _code(stream, text, backend)
    stream.finish()
    return bytes(memoryview(text))  # type: ignore[arg-type]


def _code(stream: coder.Coder, text: kernels.Bytes, backend: str) -> None:
    kernels.load("bytewise", backend).content(
        stream.state,
        stream.buffer,
        text,
        0,
        len(text),
        coder.adaptive(bytewise.N_SLOTS, backend),
        coder.mixer(bytewise.N_WEIGHT_SETS, bytewise.N_CONTEXTS, backend),
        coder.tables(backend),
        kernels.integers(bytewise.N_CONTEXTS, backend),
        kernels.integers(1, backend),
        coder.scratch(bytewise.N_CONTEXTS, 1, backend),
    )
