"""The launch files and the packages: both must agree with the graph and with the code."""

from __future__ import annotations

import ast
import importlib
import json
import runpy
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from emo.graph import build_graph
from emo.options import GraphOptions
from emo_core.bag import BagWriter, Topic
from emo_nodekit import HOPELESS

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "src").glob("*/package.xml"))
PIPELINES = ("lipsync", "mimic", "both")
PYTHON_PACKAGES = [package for package in PACKAGES if (package / "setup.py").is_file()]


#: With them FastDDS reads emo's own file.
MEMORY = {
    "RMW_FASTRTPS_USE_QOS_FROM_XML": "1",
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
}


class Recorded:
    """Stands for any class of launch and launch_ros: keeps what it was made of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class Configuration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What the launch files share, on recording stand-ins for the launch packages."""
    contents = {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.actions": [
            "DeclareLaunchArgument", "LogInfo", "OpaqueFunction", "Shutdown", "TimerAction",
        ],
        "launch.events": [],
        "launch.events.process": ["ProcessExited"],
        "launch.substitutions": [],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
    }  # fmt: skip
    for name, classes in contents.items():
        module = types.ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = Configuration  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "emo.launching", raising=False)
    for name in MEMORY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DISTRO", "humble")
    return importlib.import_module("emo.launching")


@pytest.fixture(params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def description(launching: types.ModuleType, pipeline: str) -> list[Any]:
    """The actions of a launch file."""
    file = runpy.run_path(str(ROOT / "launch" / f"{pipeline}.launch.py"))
    return list(file["generate_launch_description"]().args[0])


def nodes(launching: types.ModuleType, pipeline: str, **chosen: str) -> list[Recorded]:
    *arguments, graph = description(launching, pipeline)
    defaults = {each.args[0]: each.kwargs["default_value"] for each in arguments}
    assert chosen.keys() <= defaults.keys()
    result: list[Recorded] = graph.kwargs["function"]({**defaults, **chosen})
    return result


def test_every_option_is_a_described_argument(launching: types.ModuleType, pipeline: str) -> None:
    found = description(launching, pipeline)[:-1]
    options = [option.name for option in GraphOptions.of(pipeline)]
    assert [each.args[0] for each in found] == [*options, "composed"]
    assert all(len(each.kwargs["description"]) > 10 for each in found)


def test_a_launch_file_takes_what_its_pipeline_knows(launching: types.ModuleType) -> None:
    names = {
        pipeline: {each.args[0] for each in description(launching, pipeline)[:-1]}
        for pipeline in PIPELINES
    }
    assert names["both"] == names["lipsync"] | names["mimic"]
    assert {"robot", "view", "out", "namespace"} <= names["lipsync"] & names["mimic"]
    assert {"speech", "lookahead"} <= names["lipsync"] - names["mimic"]
    assert {"video", "predict"} <= names["mimic"] - names["lipsync"]


def test_arguments_say_what_they_may_be(launching: types.ModuleType) -> None:
    found = description(launching, "both")[:-1]
    choices = {each.args[0]: each.kwargs["choices"] for each in found}
    assert choices["lookahead"] == ["full", "live"]
    assert choices["source"] == choices["camera"] == ["device", "file", "topic"]
    assert choices["view"] == choices["composed"] == ["true", "false"]
    assert choices["robot"] is None
    with pytest.raises(ValueError, match="mouth_gain:=much: give a number"):
        nodes(launching, "lipsync", mouth_gain="much")


def test_the_defaults_give_the_default_graph(launching: types.ModuleType, pipeline: str) -> None:
    graph = build_graph(GraphOptions(pipeline=pipeline))
    made = nodes(launching, pipeline)
    assert [node.kwargs["executable"] for node in made] == [each.executable for each in graph]
    for node, process in zip(made, graph, strict=True):
        assert node.kwargs["package"] == process.package
        assert node.kwargs["name"] == (process.node_name or None)
        assert node.kwargs["remappings"] == list(process.remappings)
        values = {
            name: value.args[0] if isinstance(value, Recorded) else value
            for name, value in node.kwargs["parameters"][0].items()
        }
        assert values == process.parameters


def test_arguments_reach_the_nodes_with_their_types(launching: types.ModuleType) -> None:
    made = nodes(
        launching,
        "both",
        source="file",
        speech="7",
        mouth_gain="1.5",
        camera="topic",
        camera_topic="/head/image",
        predict="false",
        namespace="robot1",
        view="false",
    )
    by_name = {(node.kwargs["namespace"], node.kwargs["executable"]): node for node in made}
    assert ("robot1", "robot_view") not in by_name
    path = by_name["robot1", "microphone"].kwargs["parameters"][0]["path"]
    assert path.args[0] == "7" and path.kwargs["value_type"] is str
    gain = by_name["robot1", "audio2landmark"].kwargs["parameters"][0]["mouth_gain"]
    assert gain.args[0] == 1.5
    predict = by_name["robot1/mimic", "predictive_model"].kwargs["parameters"][0]["predict"]
    assert predict.args[0] is False
    assert ("image_in", "/head/image") in by_name["robot1", "camera"].kwargs["remappings"]
    for pipeline in ("lipsync", "mimic"):
        record = by_name[f"robot1/{pipeline}", "inverse_model"].kwargs["parameters"][0]["record"]
        assert record.args[0] == f"{pipeline}/commands.csv"
        assert (f"robot1/{pipeline}", "normalization") in by_name


def test_composed_is_one_process_and_the_isolated_ones(
    launching: types.ModuleType, pipeline: str
) -> None:
    made = nodes(launching, pipeline, composed="true", robot="sim", namespace="robot1")
    graph = build_graph(GraphOptions(pipeline=pipeline))
    isolated = [each.executable for each in graph if each.isolated]
    assert [node.kwargs["executable"] for node in made] == ["composed", *isolated]
    given = made[0].kwargs["arguments"]
    assert f"--pipeline={pipeline}" in given
    assert "--robot=sim" in given and "--namespace=robot1" in given and "--view=true" in given


def ended(node: Recorded, status: int, shutting_down: bool = False) -> dict[str, Recorded]:
    """What launch is told to do when the process of a node has ended: by the kind of action."""
    event = types.SimpleNamespace(process_name="the-process-1", returncode=status)
    context = types.SimpleNamespace(is_shutdown=shutting_down)
    return {type(action).__name__: action for action in node.kwargs["on_exit"](event, context)}


def test_what_no_restart_can_mend_ends_the_launch(launching: types.ModuleType) -> None:
    told = ended(nodes(launching, "lipsync")[-1], HOPELESS)
    assert told.keys() == {"Shutdown"}
    assert told["Shutdown"].kwargs["reason"] == "the-process-1 cannot run"


def test_a_killed_process_comes_back_later_each_time_and_says_so(
    launching: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(launching.time, "monotonic", lambda: now_s)
    node = first = nodes(launching, "lipsync")[-1]
    assert first.kwargs["additional_env"] == {}
    waited = []
    for ran_s in (60.0, 1.0, 1.0, 9.0, 1.0, 1.0, 11.0):
        now_s += ran_s
        told = ended(node, -9)
        assert told.keys() == {"LogInfo", "TimerAction"}
        waited.append(told["TimerAction"].kwargs["period"])
        said = told["LogInfo"].kwargs["msg"]
        assert said == (
            f"the-process-1 ended (signal SIGKILL): starting it again in {waited[-1]:.1f} s"
        )
        now_s += waited[-1]
        (again,) = told["TimerAction"].kwargs["actions"]
        (node,) = again.kwargs["function"](None)
    assert waited == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 0.2]
    assert node.kwargs["additional_env"] == {"EMO_CRASHES": "7:signal SIGKILL"}
    same = {"package", "executable", "name", "namespace", "parameters", "remappings"}
    assert {k: node.kwargs[k] for k in same} == {k: first.kwargs[k] for k in same}
    assert ended(node, -9, shutting_down=True) == {}


@pytest.mark.parametrize("composed", ["true", "false"])
def test_queues_of_every_process_give_memory_back(
    launching: types.ModuleType, monkeypatch: pytest.MonkeyPatch, composed: str
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    made = nodes(launching, "both", composed=composed)
    assert [node.kwargs["additional_env"] for node in made] == [MEMORY] * len(made)


@pytest.mark.parametrize("composed", ["true", "false"])
def test_what_only_looks_on_never_ends_the_launch(
    launching: types.ModuleType, composed: str
) -> None:
    made = nodes(launching, "both", record="true", dashboard="true", composed=composed)
    told = {node.kwargs["executable"]: ended(node, HOPELESS).keys() for node in made}
    onlookers = {"recorder", "dashboard", "robot_view"}
    assert onlookers < told.keys()
    for executable, kinds in told.items():
        assert kinds == ({"LogInfo"} if executable in onlookers else {"Shutdown"})


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """A robot of which there is no picture, as most real ones."""
    content = yaml.safe_load((ROOT / "config" / "robots" / "sim.yaml").read_text())
    del content["simulator"]
    content["bus"] = {"kind": "ros", "port": "head"}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "plain.yaml")


@pytest.mark.parametrize("composed", ["true", "false"])
@pytest.mark.parametrize("view", ["true", "false"])
def test_a_robot_that_cannot_be_drawn_starts_at_once(
    launching: types.ModuleType, plain: str, view: str, composed: str
) -> None:
    """Its sources and its recorder wait for nobody who listens to what only a view would."""
    chosen = {"robot": plain, "source": "file", "record": "true", "view": view}
    made = nodes(launching, "both", **chosen, composed=composed)
    assert "robot_view" not in [node.kwargs["executable"] for node in made]
    waiting = [each for each in made if "wait_for" in each.kwargs.get("parameters", [{}])[0]]
    assert len(waiting) == (1 if composed == "true" else 3)
    for node in waiting:
        awaited = node.kwargs["parameters"][0]["wait_for"]
        assert "motor_command" in awaited
        assert not {"joint_states", "audio_played", "mimic/gaze"} & set(awaited)


@pytest.mark.parametrize("drawn", [True, False])
def test_a_replay_shows_only_a_robot_that_can_be_drawn(
    launching: types.ModuleType, tmp_path: Path, plain: str, drawn: bool
) -> None:
    graph = json.dumps({"robot": "sim" if drawn else plain})
    writer = BagWriter(tmp_path / "bag", {"graph": graph})
    for topic in ("/audio", "/audio_played"):
        writer.write(Topic(topic, "emo_interfaces/msg/AudioChunk"), 1, 1, 1, b"sound")
    writer.close()
    *arguments, replayed = launching.replay_description().args[0]
    values = {each.args[0]: each.kwargs["default_value"] for each in arguments}
    made = replayed.kwargs["function"]({**values, "bag": str(tmp_path / "bag")})
    executables = [node.kwargs["executable"] for node in made]
    assert ("robot_view" in executables) == drawn
    assert executables[-1] == "player"
    parameters = made[-1].kwargs["parameters"][0]
    assert parameters["topics"] == ["/audio", "/audio_played"][: 1 + drawn]
    assert parameters["wait_for"] == [*parameters["topics"], "motor_command"]


def test_every_topic_of_a_pipeline_is_waited_for_by_its_sources() -> None:
    graph = {each.name: each for each in build_graph(GraphOptions(pipeline="both", source="file"))}
    waited = graph["microphone"].parameters["wait_for"]
    assert waited == graph["camera"].parameters["wait_for"]
    assert isinstance(waited, list)
    assert {"audio", "image/compressed", "motor_command", "audio_played"} <= set(waited)
    alone = build_graph(GraphOptions(pipeline="mimic"))[-1].parameters["wait_for"]
    assert isinstance(alone, list)
    assert not {"audio", "audio_played"} & set(alone)


def test_the_graphs_executables_are_installed() -> None:
    for process in build_graph(GraphOptions(pipeline="both", source="file", speech="a.wav")):
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
    pages = [ROOT / "docs" / "ros.md", *sorted((ROOT / "docs" / "nodes").glob("*.md"))]
    text = "".join(page.read_text() for page in pages)
    wanted = {process.executable for process in build_graph(GraphOptions("both", source="file"))}
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


@pytest.mark.parametrize("view", [True, False])
def test_sources_wait_for_the_views_topics_only_with_a_view(view: bool) -> None:
    graph = build_graph(
        GraphOptions(pipeline="mimic", camera="file", video="v.mp4", view=view, record=True)
    )
    for name in ("camera", "recorder"):
        waits = next(entry for entry in graph if entry.name == name).parameters["wait_for"]
        assert isinstance(waits, list)
        assert ("mimic/gaze" in waits, "joint_states" in waits) == (view, view), name
        assert "mimic/motor_command" in waits
