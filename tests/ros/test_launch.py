"""The launch file and the packages: both must agree with the graph and with the code."""

from __future__ import annotations

import ast
import runpy
import sys
import types
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from emo.graph import GraphOptions, build_graph
from emo_nodekit import HOPELESS

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "src").glob("*/package.xml"))
PYTHON_PACKAGES = [package for package in PACKAGES if (package / "setup.py").is_file()]


class Recorded:
    """Stands for any class of launch and launch_ros: keeps what it was made of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class Configuration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The launch file's functions, on recording stand-ins for the launch packages."""
    contents = {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "OpaqueFunction", "Shutdown"],
        "launch.events": [],
        "launch.events.process": ["ProcessExited"],
        "launch.substitutions": [],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
    }
    for name, classes in contents.items():
        module = types.ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = Configuration  # type: ignore[attr-defined]
    return runpy.run_path(str(ROOT / "launch" / "lipsync.launch.py"))


def arguments(launch_file: dict[str, Any]) -> list[Recorded]:
    return list(launch_file["generate_launch_description"]().args[0][:-1])


def nodes(launch_file: dict[str, Any], **chosen: str) -> list[Recorded]:
    defaults = {each.args[0]: each.kwargs["default_value"] for each in arguments(launch_file)}
    assert chosen.keys() <= defaults.keys()
    result: list[Recorded] = launch_file["_processes"]({**defaults, **chosen})
    return result


def test_every_option_is_a_described_argument(launch_file: dict[str, Any]) -> None:
    found = arguments(launch_file)
    options = [option.name for option in fields(GraphOptions)]
    assert [each.args[0] for each in found] == [*options, "composed"]
    assert all(len(each.kwargs["description"]) > 10 for each in found)


def test_arguments_say_what_they_may_be(launch_file: dict[str, Any]) -> None:
    choices = {each.args[0]: each.kwargs["choices"] for each in arguments(launch_file)}
    assert choices["lookahead"] == ["full", "live"]
    assert choices["source"] == ["device", "file", "topic"]
    assert choices["view"] == choices["composed"] == ["true", "false"]
    assert choices["robot"] is None
    with pytest.raises(ValueError, match="mouth_gain:=much: give a number"):
        nodes(launch_file, mouth_gain="much")


def test_the_defaults_give_the_default_graph(launch_file: dict[str, Any]) -> None:
    graph = build_graph(GraphOptions())
    made = nodes(launch_file)
    assert [node.kwargs["executable"] for node in made] == [each.executable for each in graph]
    for node, process in zip(made, graph, strict=True):
        assert node.kwargs["package"] == process.package
        assert node.kwargs["name"] == (process.node_name or None)
        assert node.kwargs["respawn"] is True
        values = {
            name: value.args[0] if isinstance(value, Recorded) else value
            for name, value in node.kwargs["parameters"][0].items()
        }
        assert values == process.parameters


def test_arguments_reach_the_nodes_with_their_types(launch_file: dict[str, Any]) -> None:
    made = nodes(
        launch_file, source="file", speech="7", mouth_gain="1.5", namespace="robot1", view="false"
    )
    by_name = {node.kwargs["executable"]: node for node in made}
    assert "robot_view" not in by_name
    path = by_name["microphone"].kwargs["parameters"][0]["path"]
    assert path.args[0] == "7" and path.kwargs["value_type"] is str
    assert by_name["audio2landmark"].kwargs["parameters"][0]["mouth_gain"].args[0] == 1.5
    assert by_name["normalization"].kwargs["namespace"] == "robot1/lipsync"


def test_composed_is_one_process_and_the_isolated_ones(launch_file: dict[str, Any]) -> None:
    made = nodes(launch_file, composed="true", robot="sim", namespace="robot1")
    isolated = [each.executable for each in build_graph(GraphOptions()) if each.isolated]
    assert [node.kwargs["executable"] for node in made] == ["composed", *isolated]
    given = made[0].kwargs["arguments"]
    assert "--robot=sim" in given and "--namespace=robot1" in given and "--view=true" in given


def test_what_no_restart_can_mend_ends_the_launch(launch_file: dict[str, Any]) -> None:
    on_exit = nodes(launch_file)[0].kwargs["on_exit"]
    ended = types.SimpleNamespace(process_name="microphone-1")
    assert on_exit(types.SimpleNamespace(**vars(ended), returncode=1), None) == []
    (shutdown,) = on_exit(types.SimpleNamespace(**vars(ended), returncode=HOPELESS), None)
    assert shutdown.kwargs["reason"] == "microphone-1 cannot run"


def test_the_graphs_executables_are_installed() -> None:
    for process in build_graph(GraphOptions(source="file", speech="a.wav")):
        setup = (ROOT / "src" / process.package / "setup.py").read_text()
        assert f'"{process.executable} = {process.module}:main"' in setup


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_is_complete(package: Path) -> None:
    manifest = ElementTree.parse(package / "package.xml").getroot()
    assert manifest.findtext("name") == package.name
    assert manifest.findtext("license") == "Apache-2.0"
    assert len(manifest.findtext("description") or "") > 20
    if package in PYTHON_PACKAGES:
        setup = (package / "setup.py").read_text()
        assert f'version="{manifest.findtext("version")}"' in setup
        assert (package / "resource" / package.name).is_file()
        assert f"script_dir=$base/lib/{package.name}\n" in (package / "setup.cfg").read_text()


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda package: package.name)
def test_package_names_the_ros_packages_its_code_imports(package: Path) -> None:
    manifest = ElementTree.parse(package / "package.xml").getroot()
    named = {element.text for element in manifest if element.tag.endswith("depend")}
    imported: set[str] = set()
    for path in (package / package.name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    ros = {
        name
        for name in imported
        if name == "rclpy"
        or name.startswith("emo_")
        or name.endswith(("_msgs", "_srvs", "_interfaces"))
    }
    assert ros - {package.name} <= named
    if package.name == "emo_core":
        assert not ros - {"emo_core"}, "the library imports no ROS"


def test_versions_agree() -> None:
    versions = {
        ElementTree.parse(p / "package.xml").getroot().findtext("version") for p in PACKAGES
    }
    assert len(versions) == 1


def test_the_documentation_names_every_node_topic_and_parameter() -> None:
    text = (ROOT / "docs" / "ros.md").read_text()
    wanted = {process.executable for process in build_graph(GraphOptions(source="file"))}
    for path in (ROOT / "src").glob("emo_*/emo_*/*.py"):
        if path.parent.name == "emo_core":
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            name = call.func.id if isinstance(call.func, ast.Name) else name
            position = {"Parameter": 0, "create_publisher": 1, "subscribe": 1}.get(name)
            if position is None or len(call.args) <= position:
                continue
            value = call.args[position]
            if isinstance(value, ast.Constant) and value.value:
                wanted.add(str(value.value))
    assert len(wanted) > 30
    assert sorted(name for name in wanted if name not in text) == []
