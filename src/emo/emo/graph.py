"""The one description of the ROS graph: which nodes run, where, with which parameters.

`composed.py` (one process), the supervisor (`./emo lipsync --processes`) and the launch files all
build the graph from here, so that the three cannot differ. No rclpy is imported: the launch files
and the tests read it anywhere.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Union

from emo.options import BOTH, GraphOptions
from emo_core.face.static_face import KeptFace
from emo_core.lipsync import VARIANTS
from emo_core.pipelines import LIPSYNC, MARK, MIMIC, topics
from emo_core.robot.description import RobotDescription

#: A ROS parameter's value.
Value = Union[bool, int, float, str, "list[str]"]


@dataclass(frozen=True)
class Process:
    """One process of the graph: an executable of a package, with one node or more.

    Attributes:
        name: unique in the graph.
        module: Python module of the executable, with `create_nodes` and `main`.
        node_name: the node's name; empty where the process has several nodes with names of
            their own (a launch file must then set none).
        namespace: without leading slash; empty is the root.
        isolated: keeps a process of its own even when the rest is composed, because its work
            (rendering, video encoding) would hold the interpreter's lock in the audio's way. It
            only looks on: the graph goes on without it.
    """

    package: str
    executable: str
    node_name: str
    namespace: str = ""
    parameters: dict[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    isolated: bool = False

    @property
    def name(self) -> str:
        """Name of the process: `lipsync/normalization`."""
        return f"{self.namespace}/{self.executable}" if self.namespace else self.executable

    @property
    def module(self) -> str:
        """Python module of the executable."""
        return f"{self.package}.{self.executable}"

    def ros_args(self) -> list[str]:
        """Arguments that make `python -m MODULE` this process."""
        args = ["--ros-args"]
        if self.namespace:
            args += ["-r", f"__ns:=/{self.namespace}"]
        for old, new in self.remappings:
            args += ["-r", f"{old}:={new}"]
        for name, value in self.parameters.items():
            args += ["-p", f"{name}:={_yaml(value)}"]
        return args


def _yaml(value: Value) -> str:
    """A parameter's value as rcl reads it from the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    return "[" + ", ".join(_quoted(item) for item in value) + "]"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def build_graph(options: GraphOptions) -> list[Process]:
    """The graph of one pipeline or both, sinks first.

    Any order works: the sources wait until every topic of the pipelines has its listener. So there
    is a view only of a robot that can be drawn: one that ended at once would be waited for.

    Raises:
        EmoError: the robot that is to be viewed is missing, or its file makes no sense.
    """
    if options.view and RobotDescription.load(options.robot).simulator is None:
        options = replace(options, view=False)
    graph = _robot(options)
    if LIPSYNC in options.pipelines:
        graph += _lipsync(options)
    if MIMIC in options.pipelines:
        graph += _mimic(options)
    return [*_observers(options), *graph, *_sources(options)]


def _place(options: GraphOptions, pipeline: str = "") -> str:
    """The robot's namespace, or that of a pipeline in it."""
    return "/".join(part for part in (options.namespace.strip("/"), pipeline) if part)


def _common(options: GraphOptions) -> dict[str, Value]:
    """Parameters of every node."""
    return {"use_sim_time": options.use_sim_time, "trace_dir": options.out}


def _speaks(options: GraphOptions) -> bool:
    """Whether there is a loudspeaker. A live voice needs none, and would be heard again."""
    return LIPSYNC in options.pipelines and options.speaker and options.source == "file"


def _robot(options: GraphOptions) -> list[Process]:
    """View, drivers and arbiter."""
    place, parameters = _place(options), {**_common(options), "robot": options.robot}
    # Without a speaker the sound in the room is the talker's, when it is said.
    heard = (("audio_played", "audio"),) if not _speaks(options) else ()
    view = Process(
        package="emo_sim",
        executable="robot_view",
        node_name="robot_view",
        namespace=place,
        parameters={**parameters, "port": options.port, "sound": LIPSYNC in options.pipelines},
        remappings=heard,
        isolated=True,
    )
    drivers = Process(
        package="emo_motor_drivers",
        executable="drivers",
        node_name="",
        namespace=place,
        parameters=dict(parameters),
    )
    arbiter = Process(
        package="emo_motor_drivers",
        executable="arbiter",
        node_name="arbiter",
        namespace=place,
        # Nobody in a video stands before a mirror.
        parameters={**parameters, "sources": [LIPSYNC, MIMIC], "greet": options.camera != "file"},
    )
    return [view, drivers, arbiter] if options.view else [drivers, arbiter]


def _to_motors(options: GraphOptions, pipeline: str) -> list[Process]:
    """The end of each pipeline: landmarks to motor commands."""
    parameters = {**_common(options), "robot": options.robot}
    # One pipeline alone leaves its commands at the top of the folder.
    record = f"{pipeline}/commands.csv" if options.pipeline == BOTH else "commands.csv"
    inverse_model = Process(
        package="emo_inverse_model",
        executable="inverse_model",
        node_name="inverse_model",
        namespace=_place(options, pipeline),
        parameters={**parameters, "source": pipeline, "record": record},
    )
    normalization = Process(
        package="emo_normalization",
        executable="normalization",
        node_name="normalization",
        namespace=_place(options, pipeline),
        parameters=dict(parameters),
    )
    return [inverse_model, normalization]


def _lipsync(options: GraphOptions) -> list[Process]:
    """Speech features to motor commands, and the speaker."""
    place, common = _place(options), _common(options)
    inverse_model, normalization = _to_motors(options, LIPSYNC)
    normalization.parameters["static_face"] = options.static_face
    audio2landmark = Process(
        package="emo_audio2landmark",
        executable="audio2landmark",
        node_name="audio2landmark",
        namespace=place,
        parameters={
            **common,
            "model": VARIANTS[options.lookahead],
            "static_face": options.static_face,
            "mouth_gain": options.mouth_gain,
        },
    )
    speech_features = Process(
        package="emo_speech_features",
        executable="speech_features",
        node_name="speech_features",
        namespace=place,
        parameters=dict(common),
    )
    graph = [inverse_model, normalization, audio2landmark, speech_features]
    if _speaks(options):
        graph.append(
            Process(
                package="emo_microphone",
                executable="speaker",
                node_name="speaker",
                namespace=place,
                parameters={**common, "robot": options.robot},
            )
        )
    return graph


def _mimic(options: GraphOptions) -> list[Process]:
    """Images to motor commands and gaze."""
    predictive_model = Process(
        package="emo_predictive_model",
        executable="predictive_model",
        node_name="predictive_model",
        namespace=_place(options, MIMIC),
        parameters={**_common(options), "predict": options.predict},
    )
    face_tracking = Process(
        package="emo_face_tracking",
        executable="face_tracking",
        node_name="face_tracking",
        namespace=_place(options),
        parameters={**_common(options), "faces": options.faces, "person": options.person},
    )
    inverse_model, normalization = _to_motors(options, MIMIC)
    # What the tracker and the model make of a face goes by another name than `landmarks`.
    normalization = replace(normalization, remappings=(("landmarks", "predicted"),))
    return [inverse_model, normalization, predictive_model, face_tracking]


def _awaited(options: GraphOptions) -> list[str]:
    """Topics that must have a listener before a recording may start, relative to the robot.

    Sources wait for those of all pipelines, so that sound and picture start together.
    """
    names = [topic for pipeline in options.pipelines for topic in topics(pipeline)]
    names += ["motor_command", *(["joint_states"] if options.view else [])]
    if _speaks(options) and options.view:
        names.append("audio_played")
    if MIMIC in options.pipelines and options.view:  # nobody else's where the eyes are fixed
        names.append("mimic/gaze")
    return names


def _observers(options: GraphOptions) -> list[Process]:
    """What looks on, in processes of its own."""
    observers = [_recorder(options)] if options.record else []
    if options.dashboard:
        dashboard = Process(
            package="emo_dashboard",
            executable="dashboard",
            node_name="dashboard",
            namespace=_place(options),
            parameters={
                **_common(options),
                "robot": options.robot,
                "host": options.dashboard_host,
                "port": options.dashboard_port,
            },
            isolated=True,
        )
        observers.append(dashboard)
    return observers


def kept_files(options: GraphOptions) -> list[str]:
    """Faces at rest that the graph begins with: a replay needs the same."""
    person = KeptFace(options.faces, options.person)
    files = [options.static_face, "" if person.missing else str(person.path or "")]
    return [path for path in files if path] or [""]


def _recorder(options: GraphOptions) -> Process:
    """What keeps every topic in a bag."""
    bag = options.bag or (str(Path(options.out) / "bag") if options.out else "")
    return Process(
        package="emo_recorder",
        executable="recorder",
        node_name="recorder",
        namespace=_place(options),
        parameters={
            **_common(options),
            "path": bag,
            "max_mb": options.bag_mb,
            "graph": json.dumps(asdict(options)),
            "robot": options.robot,
            "keep": kept_files(options),
            "wait_for": _awaited(options),
        },
        isolated=True,
    )


def _sources(options: GraphOptions) -> list[Process]:
    """Microphone and camera: what sets everything going."""
    wait_for = [*_awaited(options), *([MARK] if options.record else [])]
    microphone = Process(
        package="emo_microphone",
        executable="microphone",
        node_name="microphone",
        namespace=_place(options),
        parameters={
            **_common(options),
            "source": options.source,
            "path": options.speech,
            "device": options.device,
            "wait_for": list(wait_for),
        },
    )
    topic = options.camera_topic
    camera = Process(
        package="emo_camera",
        executable="camera",
        node_name="camera",
        namespace=_place(options),
        parameters={
            **_common(options),
            "source": options.camera,
            "path": options.video,
            "device": options.camera_device,
            "wait_for": list(wait_for),
        },
        remappings=(
            (("image_in", topic), ("image_in/compressed", f"{topic}/compressed")) if topic else ()
        ),
    )
    sources = {LIPSYNC: microphone, MIMIC: camera}
    return [sources[pipeline] for pipeline in options.pipelines]
