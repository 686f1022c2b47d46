"""The reference pages of docs/, made from the code: nodes, messages, launch arguments, commands.

A node's page comes from the node itself: it is started (on no device), and asked for its topics and
services; its parameters are its module's table. So a page says what the code does, or the test that
compares them fails. ROS must be set up (`emo.ros_setup.enter_ros`).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import os
import tempfile
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
from emo.cli import COMMANDS, make_parser
from emo.graph import Process, build_graph
from emo.options import BOTH, GraphOptions
from emo_core.errors import EmoError
from emo_nodekit.parameters import COMMON, Parameter

#: Nodes that need a file at the start, and whose topics depend on what is in it.
_OF_ITS_INPUT = ("player",)
#: With motors of every kind: what a node has for some only is told, too.
_ROBOT = "emo22"
#: Topics and services that every node of ROS, or every lifecycle node, has: not told page by page.
_CUSTOM = ("/rosout", "/parameter_events", "/diagnostics", "transition_event")
_CUSTOM_SERVICES = ("parameter", "type_description", "_state", "_states", "_transition")

_MADE = "<!-- Made from the code by `./emo docs --write`: do not edit. -->\n\n"


class _Endpoint(Protocol):
    """What publishers and subscriptions of rclpy have in common."""

    @property
    def topic_name(self) -> str: ...
    @property
    def msg_type(self) -> type: ...
    @property
    def qos_profile(self) -> Any: ...


@dataclass(frozen=True)
class Topic:
    """One end of a topic at one node."""

    node: str
    name: str
    type: str
    qos: str
    published: bool


@dataclass(frozen=True)
class Executable:
    """What one executable's nodes offer; a list entry for each of its places in the graph.

    Attributes:
        nodes: full names, without leading slash.
        classes: the nodes' classes.
        services: (node, name, type).
    """

    package: str
    name: str
    nodes: list[str]
    classes: list[type]
    topics: list[Topic]
    services: list[tuple[str, str, str]]
    lifecycle: bool


def pages(root: Path) -> dict[str, str]:
    """Path below docs/ -> text, of every reference page.

    Args:
        root: the checkout.

    Raises:
        EmoError: a node cannot start.
    """
    executables = [_inspect(package, name) for package, name in executables_of(root / "src")]
    found = {f"nodes/{e.name}.md": _node_page(e, executables) for e in executables}
    found["nodes/index.md"] = _index_page(executables)
    found["nodes/messages.md"] = _messages_page(root / "src" / "emo_interfaces")
    found["nodes/launch.md"] = _launch_page(root / "launch")
    found["commands.md"] = _commands_page()
    return {path: _MADE + text.rstrip() + "\n" for path, text in found.items()}


def executables_of(src: Path) -> list[tuple[str, str]]:
    """(package, executable) of every node: the console scripts of `src`'s emo_* packages."""
    found = []
    for setup in sorted(src.glob("emo_*/setup.py")):
        for node in ast.walk(ast.parse(setup.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and text.endswith(":main") and " = " in text:
                found.append((setup.parent.name, text.split(" = ")[0]))
    return found


# --- asking the nodes


def _places(package: str, executable: str) -> list[Process]:
    """Where the graph has this executable; a place of its own at the root where it has not."""
    graph = build_graph(GraphOptions(pipeline=BOTH, source="file", camera="topic", robot=_ROBOT))
    places = [p for p in graph if (p.package, p.executable) == (package, executable)]
    return places or [Process(package=package, executable=executable, node_name="")]


def _harmless(name: str, folder: str) -> dict[str, Any]:
    """Parameters that keep a node started for its page off devices, and its files in `folder`."""
    devices: dict[str, dict[str, Any]] = {
        "microphone": {"source": "topic"},
        "speaker": {"output": "null"},
        "recorder": {"path": f"{folder}/recording"},
    }
    return {"trace_dir": "", **devices.get(name, {})}


def _inspect(package: str, name: str) -> Executable:
    import rclpy
    from rclpy.lifecycle import LifecycleNode
    from rclpy.node import Node

    from emo_nodekit.running import Spinner

    module = importlib.import_module(f"{package}.{name}")
    executable = Executable(package, name, [], [], [], [], lifecycle=False)
    if name in _OF_ITS_INPUT:
        here = [kind for kind in vars(module).values() if inspect.isclass(kind)]
        own = [kind for kind in here if kind.__module__ == module.__name__]
        executable.nodes.append(name)
        executable.classes.extend(kind for kind in own if issubclass(kind, Node))
        return executable
    started = not rclpy.ok()
    if started:
        rclpy.init(args=[])
    try:
        for place in _places(package, name):
            with tempfile.TemporaryDirectory() as folder:
                parameters = {**place.parameters, **_harmless(name, folder)}
                with contextlib.redirect_stderr(io.StringIO()):  # where its page is, say
                    nodes = module.create_nodes(place.namespace, parameters, place.remappings)
                for node in nodes:
                    full = node.get_fully_qualified_name().lstrip("/")
                    executable.nodes.append(full)
                    executable.classes.append(type(node))
                    executable.topics.extend(_topics(full, node))
                    executable.services.extend(_services(full, node))
                Spinner(nodes).stop()
            if any(issubclass(kind, LifecycleNode) for kind in executable.classes):
                executable = replace(executable, lifecycle=True)
    finally:
        if started:
            rclpy.try_shutdown()
    return executable


def _topics(full: str, node: Any) -> Iterator[Topic]:
    ends: list[tuple[Iterable[_Endpoint], bool]] = [
        (node.subscriptions, False),
        (node.publishers, True),
    ]
    for endpoints, published in ends:
        for end in endpoints:
            if not end.topic_name.endswith(_CUSTOM):
                name = end.topic_name.lstrip("/")
                yield Topic(full, name, _type(end.msg_type), _qos(end.qos_profile), published)


def _services(full: str, node: Any) -> Iterator[tuple[str, str, str]]:
    for service in node.services:
        if not any(part in service.srv_name for part in _CUSTOM_SERVICES):
            name = service.srv_name.lstrip("/").replace("~", full)
            yield full, name, _type(service.srv_type)


def _type(kind: type) -> str:
    return f"{kind.__module__.split('.')[0]}/{kind.__name__}"


def _qos(profile: Any) -> str:
    reliability = profile.reliability.name.lower().replace("_", " ")
    latched = ", latched" if profile.durability.name == "TRANSIENT_LOCAL" else ""
    return f"{reliability}, depth {profile.depth}{latched}"


def _table(module: types.ModuleType) -> Sequence[Parameter]:
    """The parameters of the node in `module`."""
    try:
        return tuple(module.PARAMETERS)
    except AttributeError:
        raise EmoError(
            f"{module.__name__} has no table PARAMETERS: put it beside its node"
        ) from None


# --- writing the pages


def _node_page(executable: Executable, everybody: Sequence[Executable]) -> str:
    lines = [f"# {executable.name}", ""]
    for kind in dict.fromkeys(executable.classes):
        lines += [inspect.cleandoc(kind.__doc__ or ""), ""]
    names = ", ".join(f"`/{name}`" for name in executable.nodes)
    lifecycle = ", of the lifecycle kind" if executable.lifecycle else ""
    several = "s" if len(executable.nodes) > 1 else ""
    lines += [f"Node{several} {names}{lifecycle}. "
              f"By itself: `ros2 run {executable.package} {executable.name}`.", ""]  # fmt: skip
    if executable.name in _OF_ITS_INPUT:
        lines += ["Which topics it has depends on its parameters.", ""]
    topics = [topic for other in everybody for topic in other.topics]
    for published, title in ((False, "Subscribes"), (True, "Publishes")):
        ends = [topic for topic in executable.topics if topic.published == published]
        if not ends:
            continue
        others = "to" if published else "from"
        lines += [f"## {title}", "", f"| topic | type | quality of service | {others} |",
                  "|---|---|---|---|"]  # fmt: skip
        for end in dict.fromkeys(replace(topic, node="") for topic in ends):
            far = {t.node for t in topics if t.name == end.name and t.published != published}
            near = {t.node for t in ends if t.name == end.name}
            who = ", ".join(f"`{node}`" for node in sorted(far - near))
            lines.append(f"| `{end.name}` | {_linked(end.type)} | {end.qos} | {who} |")
        lines.append("")
    if executable.services:
        lines += ["## Services", "", "| service | type |", "|---|---|"]
        lines += [f"| `/{name}` | {_linked(kind)} |" for _, name, kind in executable.services]
        lines.append("")
    lines += ["## Parameters", ""]
    tables = {kind.__module__: kind for kind in executable.classes}
    for module in tables:
        lines += _parameter_table(_table(importlib.import_module(module)))
    lines += ["", "And those that [all nodes have](index.md#what-all-nodes-have)."]
    return "\n".join(lines)


def _parameter_table(table: Sequence[Parameter]) -> list[str]:
    lines = ["| parameter | type | default | allowed | |", "|---|---|---|---|---|"]
    for entry in table:
        kind = "list of texts" if isinstance(entry.default, list) else _KINDS[type(entry.default)]
        allowed = ""
        if entry.choices:
            allowed = ", ".join(f"`{choice}`" for choice in entry.choices)
        elif entry.low is not None and entry.high is not None:
            allowed = f"{entry.low:g} to {entry.high:g}"
        when = " Can be changed while running." if getattr(entry, "dynamic", False) else ""
        lines.append(
            f"| `{entry.name}` | {kind} | {_shown(entry.default)} | {allowed} "
            f"| {_cell(entry.description)}.{when} |"
        )
    return lines


_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def _shown(default: Any) -> str:
    if isinstance(default, list):
        default = ", ".join(text for text in default if text)
    if isinstance(default, bool):
        default = str(default).lower()
    return f"`{default}`" if default != "" else ""


def _cell(text: str) -> str:
    text = " ".join(text.split()).rstrip(".").replace("|", "\\|")
    first = text.split(" ")[0]
    word = first.replace("'", "").isalpha()  # else a `name_like_this`
    return text[:1].upper() + text[1:] if word else text


def _linked(kind: str) -> str:
    package, name = kind.split("/")
    if package == "emo_interfaces":
        return f"[{name}](messages.md#{name.lower()})"
    return f"`{kind}`"


def _index_page(executables: Sequence[Executable]) -> str:
    lines = [
        "# Nodes",
        "",
        "Each page is made from the node itself. How they hang together: [ROS 2](../ros.md).",
        "",
        "| package, executable | nodes | |",
        "|---|---|---|",
    ]
    for executable in executables:
        first = inspect.cleandoc(executable.classes[0].__doc__ or "").split("\n\n")[0]
        names = ", ".join(f"`{name}`" for name in executable.nodes)
        lines.append(
            f"| `{executable.package}` [{executable.name}]({executable.name}.md) | {names} "
            f"| {_cell(first)} |"
        )
    lines += [
        "",
        "## What all nodes have",
        "",
        "They publish `/diagnostics` (`diagnostic_msgs/DiagnosticArray`) once a second, and at "
        "once when something needs mending: the rate, the latency since the message's stamp (p50, "
        "p95), and how often what went wrong. Names are relative: `namespace:=robot1` moves the "
        "whole graph. Quality of service is keep-last everywhere.",
        "",
        *_parameter_table(
            [
                COMMON,
                Parameter("use_sim_time", False, "pace and stamp by `/clock`"),
            ]
        ),
    ]
    return "\n".join(lines)


def _messages_page(interfaces: Path) -> str:
    lines = ["# Messages", "", "Of the package `emo_interfaces`; all others are ROS's own.", ""]
    for folder in ("msg", "srv"):
        for path in sorted(interfaces.glob(f"{folder}/*.{folder}")):
            text = path.read_text(encoding="utf-8").rstrip()
            lines += [f"## {path.stem}", "", "```", text, "```", ""]
    return "\n".join(lines)


def _launch_page(folder: Path) -> str:
    lines = [
        "# Launch arguments",
        "",
        "`ros2 launch emo FILE NAME:=VALUE ...`; with `--show-args`, those that the file knows.",
        "",
        "| file | |",
        "|---|---|",
    ]
    for path in sorted(folder.glob("*.launch.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"| `{path.name}` | {_cell(doc.split(chr(10) * 2)[0])} |")
    lines += ["", "| argument | for | default | allowed | |", "|---|---|---|---|---|"]
    for option in GraphOptions.of(BOTH):
        choices = option.metadata.get("choices") or ()
        if isinstance(option.default, bool):
            choices = ("true", "false")
        allowed = ", ".join(f"`{choice}`" for choice in choices)
        lines.append(
            f"| `{option.name}` | {option.metadata.get('only', '')} | {_shown(option.default)} "
            f"| {allowed} | {_cell(str(option.metadata['help']))} |"
        )
    lines += ["", "And `composed:=true`: one process for pipeline and drivers."]
    return "\n".join(lines)


def _commands_page() -> str:
    lines = ["# Commands", "", "What `./emo COMMAND --help` says.", ""]
    with mock.patch.dict(os.environ, COLUMNS="92"):
        for command, (_, text) in COMMANDS.items():
            parser, _ = make_parser(command)
            lines += [f"## {command}", "", f"{_cell(text)}.", ""]
            for shown in (parser, *_below(parser)):
                lines += ["```text", shown.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _below(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of subcommands."""
    return [
        below
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for below in action.choices.values()
    ]
