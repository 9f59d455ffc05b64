"""Pickles that hold arrays and plain containers, read without running them.

Python's unpickler calls whatever a file names. This is no unpickler: it walks the opcodes (`pickletools.genops`, which
only parses), imports nothing and calls nothing that a file names. Names are text, and few are known: what numpy writes
for arrays, types and numbers, and what Python writes for bytes and ordered dictionaries. Anything else is refused.

Sizes are bounded by the file's: an array is as long as the bytes that are there. Keys of dictionaries are text, numbers
or bytes, since the hash of nested tuples can take for ever.
"""

from __future__ import annotations

import math
import pickletools
import re
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_BYTES = 64 << 20
MAX_OPCODES = 2_000_000
_MAX_DIMENSIONS = 8
_DTYPE = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|S\d{1,5}|U\d{1,4})")
_ATOMS = (str, int, float, bytes, type(None))

_KNOWN = {
    **dict.fromkeys(["numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"], "reconstruct"),
    **dict.fromkeys(["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"], "scalar"),
    **dict.fromkeys(["numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"], "frombuffer"),
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    "collections.OrderedDict": "dict",
    **dict.fromkeys(["builtins.bytes", "__builtin__.bytes"], "bytes"),
}


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for more than arrays and plain containers."""


class _Mark:
    """Where a run of items begins on the stack."""


class _Name:
    """Something that a file may name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Pending:
    """An array or a type before its state is known; the places in the memo that hold it."""

    def __init__(self, dtype: np.dtype[Any] | None = None) -> None:
        self.dtype, self.memo_at = dtype, list[int]()


_MARK = _Mark()


def loads(data: bytes) -> Any:
    """What a pickle holds: dict, list, tuple, text, bytes, numbers, None, and numpy arrays of plain types.

    Raises PickleError; nothing that the file names is imported or called.
    """
    if len(data) > MAX_BYTES:
        raise PickleError(f"has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        return _run(data)
    except PickleError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error, AttributeError) as error:
        raise PickleError(f"is damaged or no pickle: {error or type(error).__name__}") from None


def _run(data: bytes) -> Any:
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in text; what they mean is not used
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                raise PickleError(f"has more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, argument)
    result = machine.pop()
    if isinstance(result, _Mark | _Name | _Pending):
        raise PickleError("holds no value")
    return result


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """Items above the topmost mark, which goes too."""
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise PickleError("is damaged: a mark is missing")

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANT:
            self.stack.append(_CONSTANT[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(f"uses the opcode {name}, which arrays and plain containers have no need of: refused")

    def put(self, at: int) -> None:
        top = self.stack[-1]
        if isinstance(top, _Pending):
            top.memo_at.append(at)
        self.memo[at] = top

    def extend(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, list):
            raise PickleError("is damaged: items for what is no list")
        into.extend(items)

    def set_items(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, dict) or len(items) % 2:
            raise PickleError("is damaged: items for what is no dictionary")
        into.update(_pairs(items[::2], items[1::2]))

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise PickleError(f"names {full[:80]!r}, which is neither array nor plain container: refused, not executed")
        self.stack.append(_Name(_KNOWN[full]))

    def reduce(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple) or name.kind not in _MADE:
            raise PickleError("calls what is no known function: refused, not executed")
        self.stack.append(_MADE[name.kind](*arguments))

    def build(self) -> None:
        state, top = self.pop(), self.pop()
        if not isinstance(top, _Pending) or not isinstance(state, tuple):
            raise PickleError("sets the state of what is no array: refused, not executed")
        made = _array(state) if top.dtype is None else _ordered(top.dtype, state)
        for at in top.memo_at:
            self.memo[at] = made
        self.stack.append(made)


def _pairs(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, _ATOMS) for key in keys):
        raise PickleError("has a dictionary with keys that are not text, numbers or bytes: refused")
    return dict(zip(keys, values, strict=True))


def _dtype(text: Any, align: Any = False, copy: Any = True) -> _Pending:
    if not isinstance(text, str) or _DTYPE.fullmatch(text) is None:
        raise PickleError(f"has an array of type {str(text)[:40]!r}: only plain numbers and text are read")
    return _Pending(np.dtype(text))


def _ordered(dtype: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    """A type with the byte order that its state says."""
    if len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise PickleError("has a structured type: only plain numbers and text are read")
    return dtype.newbyteorder(state[1])


def _array(state: tuple[Any, ...]) -> Any:
    _, shape, dtype, fortran, raw = state
    return _filled(raw, dtype, shape, "F" if fortran else "C")


def _filled(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    """An array from its bytes, which must be as many as shape and type take."""
    if isinstance(raw, str):  # of a Python 2
        raw = raw.encode("latin-1")
    if isinstance(dtype, _Pending):
        dtype = dtype.dtype
    if not isinstance(dtype, np.dtype) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise PickleError("is damaged: an array without type or bytes; arrays of objects are not read")
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise PickleError("is damaged: an array without a shape")
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(raw):
        raise PickleError(f"is damaged: an array of {dtype} and shape {shape} with {len(raw)} bytes")
    return np.frombuffer(bytes(raw), dtype).reshape(shape, order=order)


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _filled(raw, dtype, ()).item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("is damaged: bytes that are no text")
    return text.encode("latin-1")


def _empty_bytes(*arguments: Any) -> bytes:
    if arguments not in ((), (b"",)):
        raise PickleError("makes bytes of something: refused")
    return b""


def _mapping(items: Any = ()) -> dict[Any, Any]:
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in items):
        raise PickleError("is damaged: an ordered dictionary without pairs")
    return _pairs([pair[0] for pair in items], [pair[1] for pair in items])


_MADE: dict[str, Callable[..., Any]] = {
    "reconstruct": lambda kind, shape, code: _Pending(),
    "dtype": _dtype,
    "scalar": _scalar,
    "frombuffer": _filled,
    "encode": _encoded,
    "dict": _mapping,
    "bytes": _empty_bytes,
}
_PUSHED = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    }
)
_CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}


def _last(n: int) -> Callable[[_Machine, Any], None]:
    """A tuple of the last n items."""

    def step(machine: _Machine, argument: Any) -> None:
        items = [machine.pop() for _ in range(n)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _set_item(machine: _Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _whole_dict(machine: _Machine, argument: Any) -> None:
    items = machine.to_mark()
    machine.stack.append({})
    machine.set_items(items)


def _named(machine: _Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "POP": lambda m, a: m.stack.__delitem__(-1),
    "POP_MARK": lambda m, a: m.to_mark().clear(),
    "DUP": lambda m, a: m.stack.append(m.stack[-1]),
    "APPEND": lambda m, a: m.extend([m.pop()]),
    "APPENDS": lambda m, a: m.extend(m.to_mark()),
    "LIST": lambda m, a: m.stack.append(m.to_mark()),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.to_mark())),
    "TUPLE1": _last(1),
    "TUPLE2": _last(2),
    "TUPLE3": _last(3),
    "DICT": _whole_dict,
    "SETITEM": _set_item,
    "SETITEMS": lambda m, a: m.set_items(m.to_mark()),
    "GET": lambda m, a: m.stack.append(m.memo[int(a)]),
    "BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "LONG_BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "PUT": lambda m, a: m.put(int(a)),
    "BINPUT": lambda m, a: m.put(a),
    "LONG_BINPUT": lambda m, a: m.put(a),
    "MEMOIZE": lambda m, a: m.put(len(m.memo)),
    "GLOBAL": lambda m, a: m.name(*a.split(" ", 1)),
    "STACK_GLOBAL": _named,
    "REDUCE": lambda m, a: m.reduce(),
    "BUILD": lambda m, a: m.build(),
}
