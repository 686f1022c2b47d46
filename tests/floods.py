"""Messages that nobody should send: any type's, in every field, and far too many of them."""

from __future__ import annotations

import array
import copy
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_UNSIGNED = {f"u{name}": bits for name, bits in _BITS.items()}
_REALS = {"float": 3e38, "double": 1e300}
_STRANGE = ["", "\x00", 'a,"b\n', "\ud7ff", "mouth", "x" * 5000]
#: Bytes of a huge field.
HUGE = 1_000_000


def kind_of(type_name: str) -> Any:
    """The class of `emo_interfaces/msg/AudioChunk`, or of `std_msgs/Header`."""
    package, name = type_name.split("/")[0], type_name.split("/")[-1]
    return getattr(importlib.import_module(f"{package}.msg"), name)


def malformed(kind: Any, good: Any) -> Iterator[Any]:
    """Small messages, each with one field that cannot be; of a real one, and of an empty one.

    Args:
        kind: the message's class.
        good: a real message, or None.
    """
    for base in filter(None, (good, kind())):
        for path, field, type_name in _fields(base):
            for value in _values(type_name, getattr(_at(base, path), field)):
                message = copy.deepcopy(base)
                setattr(_at(message, path), field, value)
                yield message


def huge(kind: Any, good: Any) -> Iterator[Any]:
    """Messages with one field of a megabyte: thousands of times what belongs there."""
    base = kind() if good is None else good
    for path, field, type_name in _fields(base):
        message = copy.deepcopy(base)
        value = getattr(_at(message, path), field)
        if isinstance(value, array.array):
            value = array.array(value.typecode, bytes(HUGE))
        elif type_name.startswith("string"):
            value = "y" * HUGE
        elif type_name.startswith("sequence<string"):
            value = ["z" * 40] * (HUGE // 40)
        else:
            continue
        setattr(_at(message, path), field, value)
        yield message


def _fields(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every field that is no message itself: the way to it, its name and its type."""
    for field, type_name in message.get_fields_and_field_types().items():
        value = getattr(message, field)
        if hasattr(value, "get_fields_and_field_types"):
            yield from _fields(value, (*path, field))
        else:
            yield path, field, type_name


def _at(message: Any, path: tuple[str, ...]) -> Any:
    for field in path:
        message = getattr(message, field)
    return message


def _values(type_name: str, value: Any) -> Iterator[Any]:
    """What does not belong in a field, of the field's type all the same."""
    if isinstance(value, array.array):
        count = len(value)
        yield value[: count // 2]
        yield value + array.array(value.typecode, bytes(value.itemsize))
        if value.typecode in "fd":
            for wrong in (np.nan, np.inf, -np.inf, _REALS["float"], -1e6):
                yield array.array(value.typecode, [wrong] * max(count, 1))
        else:
            yield array.array(value.typecode, bytes(value.itemsize * 1000))
    elif type_name.startswith("sequence<string"):
        yield []
        yield value[:1]
        yield [*value, *_STRANGE]
        yield value[:1] * 20_000
    elif type_name.startswith("string"):
        yield from _STRANGE
    elif type_name == "boolean":
        yield not value
    elif type_name in _REALS:
        yield from (np.nan, np.inf, -np.inf, _REALS[type_name])
    elif type_name in _BITS:
        yield from (-(2 ** (_BITS[type_name] - 1)), 2 ** (_BITS[type_name] - 1) - 1, 0, 1)
    elif type_name in _UNSIGNED:
        top = 2 ** _UNSIGNED[type_name] - 1
        yield from (top, top // 2, 0, 1, 3)
