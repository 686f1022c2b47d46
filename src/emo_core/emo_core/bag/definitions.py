"""The text of message definitions, as a recording carries them. Files only, no ROS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from emo_core.errors import EmoError

_SEPARATOR = "=" * 80
#: A field whose type is another message: `std_msgs/Header header`, `Time[] times`.
_FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/[A-Za-z]\w*)?)(?:\[[^\]]*\])?\s+\w+")
_INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_PRIMITIVE = _INTEGERS | {"bool", "byte", "char", "float32", "float64", "string", "wstring"}


def definition(type_name: str, prefixes: Sequence[Path]) -> str:
    """The definition of a message and of all it is made of (the `ros2msg` form of MCAP's schemas).

    Args:
        type_name: such as `sensor_msgs/msg/JointState`.
        prefixes: installation prefixes, as in AMENT_PREFIX_PATH.

    Raises:
        EmoError: a definition is not installed.
    """
    package, _, name = type_name.split("/")
    parts: dict[str, str] = {}
    wanted = [f"{package}/{name}"]
    while wanted:
        each = wanted.pop(0)
        if each in parts:
            continue
        parts[each] = _text(each, prefixes)
        wanted += _uses(parts[each], each.split("/")[0])
    (_, first), *others = parts.items()
    return "\n".join([first, *(f"{_SEPARATOR}\nMSG: {each}\n{text}" for each, text in others)])


def _text(name: str, prefixes: Sequence[Path]) -> str:
    package, message = name.split("/")
    for prefix in prefixes:
        path = prefix / "share" / package / "msg" / f"{message}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8").rstrip() + "\n"
    raise EmoError(f"no definition of {name} in {', '.join(map(str, prefixes))}: install {package}")


def _uses(text: str, package: str) -> list[str]:
    """Messages that the fields of a definition are made of."""
    found = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#")[0].replace("<=", ""))
        if match is None or match[1] in _PRIMITIVE or re.match(r"w?string\d", match[1]):
            continue
        name = "std_msgs/Header" if match[1] == "Header" else match[1]
        found.append(name if "/" in name else f"{package}/{name}")
    return found


def bare(text: str) -> str:
    """A definition without comments and blanks: two that mean the same bytes are equal."""
    lines = (" ".join(line.split("#")[0].split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
