"""Read a pickle of arrays, lists, dicts, strings and numbers without being able to run code.

The standard unpickler calls what the file names. This reader interprets the few opcodes that the
Python version of CIFAR-10 needs, and gives the three numpy names it meets a meaning of its own:
nothing is ever imported or called, and no length is believed before its bytes are there.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from laptime.errors import DataError

UInt8Array = npt.NDArray[np.uint8]

_MAX_TEXT = 100


def read_pickled(content: bytes, name: str) -> object:
    """Return what a pickle holds, as long as it is plain values and arrays of bytes.

    Raises:
        DataError: It is damaged, or asks for anything else, such as to run code.
    """
    reader = _Reader(2 * len(content))  # text becomes bytes, and these an array
    try:
        with warnings.catch_warnings():  # the tokeniser warns of odd escapes in damaged text
            warnings.simplefilter("ignore")
            for opcode, argument, _ in pickletools.genops(content):
                reader.step(opcode.name, argument)
        return reader.result()
    except _Refused as refused:
        raise DataError(
            f"{name} is a pickle that asks for {refused}, which CIFAR-10 does not hold; "
            f"nothing was run. Get the file again from its origin."
        ) from None
    except _DAMAGED as error:
        raise DataError(
            f"{name} is not a readable pickle ({str(error)[:_MAX_TEXT] or type(error).__name__}). "
            f"Get the file again from its origin."
        ) from error


class _Refused(Exception):  # noqa: N818 - a signal within this file, not an error that is shown
    """Say what the pickle asked for."""


# What a damaged file can make the tokeniser, the stack or numpy raise.
_DAMAGED = (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError)

_MARK = object()


class _Name(str):
    """The name of something that a pickle would import: here it stays a name."""

    __slots__ = ()


class _UnfilledArray:
    """An array whose shape and bytes have not arrived yet: numpy pickles it in two parts."""

    def fill(self, state: Any) -> UInt8Array:
        """Take the state that numpy stores: version, shape, dtype, order, bytes."""
        _, shape, dtype, is_fortran, raw = state
        return _array(raw, dtype, shape, "F" if is_fortran else "C")


class _ByteDtype:
    """The one data type there is, uint8."""

    def fill(self, _: Any) -> _ByteDtype:
        """Ignore the byte order that numpy stores; a single byte has none."""
        return self


def _new_array(*_: Any) -> _UnfilledArray:
    return _UnfilledArray()


def _dtype(code: Any, *_: Any) -> _ByteDtype:
    if _text(code) not in {"u1", "|u1"}:
        raise _Refused(f"the data type {_text(code)!r}")
    return _ByteDtype()


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> UInt8Array:
    """View bytes as an array; reshape fails unless the file held every byte of that shape."""
    if not isinstance(dtype, _ByteDtype):
        raise _Refused("an array of something other than uint8")
    if isinstance(raw, str):  # Python 2 wrote bytes as its str
        raw = raw.encode("latin-1")
    return np.frombuffer(raw, np.uint8).reshape(shape, order=order)


def _encoded(text: str, codec: str = "latin1") -> bytes:
    """Return bytes that Python 3 wrote as text, for a protocol that only knows text."""
    if _text(codec) not in {"latin1", "latin-1"}:
        raise _Refused(f"the codec {_text(codec)!r}")
    return text.encode("latin-1")


def _text(value: Any) -> str:
    """Return a short string; anything else is not even formatted, it may be nested without end."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value[:_MAX_TEXT] if isinstance(value, str) else type(value).__name__


# numpy 2 moved core to _core; files of both ages are about.
_MEANINGS: dict[str, Callable[..., Any]] = {
    "numpy dtype": _dtype,
    "numpy.core.multiarray _reconstruct": _new_array,
    "numpy._core.multiarray _reconstruct": _new_array,
    "numpy.core.numeric _frombuffer": _array,
    "numpy._core.numeric _frombuffer": _array,
    "_codecs encode": _encoded,
}
_NAMES = {*_MEANINGS, "numpy ndarray"}


class _Reader:
    """The stack and the memo of one pickle, and what its opcodes do to them."""

    def __init__(self, max_bytes: int) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._bytes_left = max_bytes
        self._stopped = False

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one opcode."""
        if opcode in _VALUES:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in {"PROTO", "FRAME"}:
            raise _Refused(f"the operation {opcode}")

    def result(self) -> object:
        """Return the one value left."""
        if not self._stopped or len(self._stack) != 1:
            raise ValueError("it ends too early")
        return self._stack[0]

    def stop(self, _: Any) -> None:
        self._stopped = True

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def put(self, index: Any) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: Any) -> None:
        self._stack.append(self._memo[index])

    def name(self, argument: Any) -> None:
        if argument is None:  # STACK_GLOBAL
            attribute, module = self._stack.pop(), self._stack.pop()
            argument = f"{_text(module)} {_text(attribute)}"
        if argument not in _NAMES:
            raise _Refused(repr(_text(argument).replace(" ", ".")))
        self._stack.append(_Name(argument))

    def call(self, _: Any) -> None:
        arguments, called = self._stack.pop(), self._stack.pop()
        if not isinstance(called, _Name) or called not in _MEANINGS:
            raise _Refused("a call of something unknown")
        self._stack.append(self._paid(_MEANINGS[called](*arguments)))

    def build(self, _: Any) -> None:
        state, built = self._stack.pop(), self._stack.pop()
        if not isinstance(built, _UnfilledArray | _ByteDtype):
            raise _Refused("the state of something unknown")
        self._stack.append(self._paid(built.fill(state)))

    def _paid(self, made: Any) -> Any:
        """Count the bytes made: a value recalled again and again must not fill the memory."""
        self._bytes_left -= len(made) if isinstance(made, bytes) else getattr(made, "nbytes", 0)
        if self._bytes_left < 0:
            raise ValueError("it makes more bytes than it holds")
        return made

    def tuple_of(self, count: int) -> None:
        items = self._stack[-count:]
        if len(items) < count:
            raise ValueError("it takes a value that is not there")
        self._stack[-count:] = [tuple(items)]

    def marked_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def marked_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def marked_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set(items)

    def append(self, _: Any) -> None:
        item = self._stack.pop()
        self._list().append(item)

    def extend(self, _: Any) -> None:
        items = self._since_mark()
        self._list().extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self._since_mark())

    def _since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def _list(self) -> list[Any]:
        if not isinstance(self._stack[-1], list):
            raise ValueError("it appends to what is not a list")  # noqa: TRY004 - damage, not a bug
        return self._stack[-1]

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        # Nested tuples as keys would overflow the C stack when hashed: only plain keys.
        keys = items[::2]
        if type(target) is not dict or any(type(key) not in {str, bytes, int} for key in keys):
            raise ValueError("it fills what is not a dict of plain keys")
        target.update(zip(keys, items[1::2], strict=True))


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_ACTIONS: dict[str, Callable[[_Reader, Any], None]] = {
    "STOP": _Reader.stop,
    "MARK": _Reader.mark,
    "PUT": _Reader.put,
    "BINPUT": _Reader.put,
    "LONG_BINPUT": _Reader.put,
    "MEMOIZE": _Reader.put,
    "GET": _Reader.recall,
    "BINGET": _Reader.recall,
    "LONG_BINGET": _Reader.recall,
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.name,
    "REDUCE": _Reader.call,
    "BUILD": _Reader.build,
    "TUPLE": _Reader.marked_tuple,
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
    "LIST": _Reader.marked_list,
    "DICT": _Reader.marked_dict,
    "APPEND": _Reader.append,
    "APPENDS": _Reader.extend,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
}
