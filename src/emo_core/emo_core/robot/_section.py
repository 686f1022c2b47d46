"""Strict reading of YAML: every key is asked for by name, and whatever is left over is an error."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from emo_core.errors import EmoError

#: LibYAML's, where PyYAML was built with it: a robot's file takes 4 ms instead of 40.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


#: No number of a robot is beyond it, and whole ones beyond it are no floats.
_HUGE = sys.float_info.max


class _UniqueKeyLoader(_Loader):  # type: ignore[misc]
    """SafeLoader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key: object = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} is no word: text with braces or brackets stands in quotes",
                    key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


class Section:
    """One mapping of a YAML file, which knows where it stands and which keys were read.

    Every reader raises `EmoError` naming the file, the key and the remedy.
    """

    def __init__(self, data: object, file: Path, where: str = "") -> None:
        self.file = file
        self.where = where
        if not isinstance(data, dict):
            raise self.error(where or "the file", "is not a mapping", "write 'key: value' lines")
        self._data: dict[object, object] = dict(data)
        self._left: set[object] = set(data)

    @classmethod
    def read(cls, file: Path) -> Section:
        """The top level of `file`."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EmoError(f"{file}: cannot be read ({error}). Check name and encoding") from error
        try:
            data = yaml.load(text, Loader=_UniqueKeyLoader)  # a SafeLoader: builds plain data only
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1}: " if mark is not None else ""
            problem = getattr(error, "problem", None) or "not YAML"
            raise EmoError(f"{file}: {line}{problem}. Mend that line") from error
        # 2026-02-30 is read as a date; a tag, as in `!!int word`, is taken at its word.
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            raise EmoError(f"{file}: {error}. Mend that value, or put it in quotes") from error
        return cls(data, file)

    def error(self, key: str, problem: str, remedy: str) -> EmoError:
        """The error for `key` of this section."""
        name = f"{self.where}.{key}" if self.where and key != self.where else key
        return EmoError(f"{self.file}: {name} {problem}: {remedy}")

    def copy(self) -> dict[Any, Any]:
        """Everything in it, as plain data."""
        return dict(self._data)

    def keys(self) -> list[object]:
        """Keys in the file's order."""
        return list(self._data)

    def has(self, key: str) -> bool:
        """Whether `key` was given."""
        return key in self._data

    def take(self, key: str) -> object:
        """The raw value of a key that must be there."""
        if key not in self._data:
            raise self.error(key, "is missing", "add it (config/robots/sim.yaml shows all keys)")
        self._left.discard(key)
        return self._data[key]

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in [low, high]."""
        return self._number(key, self.take(key), low, high)

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"is {value!r}", f"give a whole number from {low} to {high}")
        return value

    def text(self, key: str, allowed: tuple[str, ...] = ()) -> str:
        """A non-empty string, one of `allowed` if that is given."""
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"is {value!r}", "give a word")
        if allowed and value not in allowed:
            raise self.error(key, f"is {value!r}", f"give one of {', '.join(allowed)}")
        return value

    def numbers(
        self, key: str, count: int, low: float = -math.inf, high: float = math.inf
    ) -> tuple[float, ...]:
        """A list of exactly `count` finite numbers in [low, high]."""
        value = self.take(key)
        if not isinstance(value, list) or len(value) != count:
            raise self.error(key, f"is {value!r}", f"give a list of {count} numbers")
        return tuple(self._number(f"{key}[{i}]", item, low, high) for i, item in enumerate(value))

    def interval(
        self, key: str, low: float = -math.inf, high: float = math.inf
    ) -> tuple[float, float]:
        """`[min, max]` with min below max, both in [low, high]."""
        first, second = self.numbers(key, 2, low, high)
        if not first < second:
            raise self.error(key, f"has min {first:g} not below max {second:g}", "write [min, max]")
        return first, second

    def section(self, key: str) -> Section:
        """A mapping under `key`."""
        return Section(self.take(key), self.file, f"{self.where}.{key}".lstrip("."))

    def sections(self, key: str) -> list[Section]:
        """A list of mappings under `key`; may be empty."""
        value = self.take(key)
        if not isinstance(value, list):
            raise self.error(key, f"is {value!r}", "give a list, one '- ' for each entry")
        prefix = f"{self.where}.{key}".lstrip(".")
        return [Section(item, self.file, f"{prefix}[{i}]") for i, item in enumerate(value)]

    def number_table(self, key: str) -> dict[object, float]:
        """A non-empty mapping of anything to finite numbers."""
        table = self.section(key)
        if not table.keys():
            raise self.error(key, "is empty", "give at least one entry")
        return {name: table._number(str(name), value) for name, value in table._data.items()}

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for key in sorted(map(str, self._left)):
            raise self.error(key, "is an unknown key", "mend the spelling or remove it")

    def _number(
        self, key: str, value: object, low: float = -math.inf, high: float = math.inf
    ) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"is {value!r}", "give a number")
        number = float(value) if abs(value) < _HUGE else math.inf
        if not math.isfinite(number) or not low <= number <= high:
            raise self.error(key, f"is {value!r:.60}", f"give a number from {low:g} to {high:g}")
        return number
