"""The one description of the ROS graph: which nodes run, where, with which parameters.

`composed.py` (one process), the supervisor (`./emo lipsync --processes`) and
`launch/lipsync.launch.py` all build the graph from here, so that the three cannot differ. No rclpy
is imported: the launch file and the tests read it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Union

from emo_core.lipsync import VARIANTS
from emo_core.robot import DEFAULT_ROBOT

#: A ROS parameter's value.
Value = Union[bool, int, float, str, "list[str]"]


@dataclass(frozen=True)
class GraphOptions:
    """What an operator can choose: each option is a launch argument, with its help and choices."""

    source: str = field(
        default="device",
        metadata={
            "help": "where audio comes from: device, file or topic",
            "choices": ("device", "file", "topic"),
        },
    )
    speech: str = field(default="", metadata={"help": "the recording, for source:=file"})
    device: str = field(
        default="", metadata={"help": "microphone's name or number; empty: the system's default"}
    )
    robot: str = field(
        default=DEFAULT_ROBOT, metadata={"help": "robot: a name in config/robots, or a YAML file"}
    )
    lookahead: str = field(
        default="full",
        metadata={
            "help": "full (240 ms; the robot's own speech) or live (someone talks to it)",
            "choices": tuple(VARIANTS),
        },
    )
    static_face: str = field(
        default="", metadata={"help": "the talker's resting face (.npz of `emo track`), or empty"}
    )
    mouth_gain: float = field(default=1.0, metadata={"help": "factor on the mouth's opening"})
    speaker: bool = field(
        default=True, metadata={"help": "play the audio, delayed so that sound meets lips"}
    )
    view: bool = field(
        default=True, metadata={"help": "render the simulated robot's camera image (sim/image)"}
    )
    port: int = field(
        default=0, metadata={"help": "port of a web page with the live image; 0: none"}
    )
    out: str = field(
        default="", metadata={"help": "folder for commands.csv, sent.csv, robot.mp4 and traces"}
    )
    namespace: str = field(default="", metadata={"help": "the robot's namespace"})
    use_sim_time: bool = field(default=False, metadata={"help": "pace and stamp by /clock"})

    @classmethod
    def help(cls, name: str) -> str:
        """The description of one option."""
        return next(str(f.metadata["help"]) for f in fields(cls) if f.name == name)


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
            (rendering, video encoding) would hold the interpreter's lock in the audio's way.
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


#: Topics that must have a listener before a recording may start; relative to the robot.
PIPELINE_TOPICS = (
    "audio",
    "speech_features",
    "lipsync/landmarks",
    "lipsync/robot_landmarks",
    "lipsync/motor_command",
    "motor_command",
)


def build_graph(options: GraphOptions) -> list[Process]:
    """The lip-sync graph, sinks first.

    Any order works: the microphone waits until every topic of the pipeline has its listener.
    """
    robot_ns = options.namespace.strip("/")
    lipsync_ns = f"{robot_ns}/lipsync" if robot_ns else "lipsync"
    common: dict[str, Value] = {"use_sim_time": options.use_sim_time, "trace_dir": options.out}
    robot: dict[str, Value] = {**common, "robot": options.robot}
    recorded = options.source == "file"  # somebody's live voice needs no loudspeaker
    speaker = options.speaker and recorded
    wait_for = list(PIPELINE_TOPICS)
    graph: list[Process] = []

    if options.view:
        graph.append(
            Process(
                package="emo_sim",
                executable="robot_view",
                node_name="robot_view",
                namespace=robot_ns,
                parameters={**robot, "port": options.port},
                # Without a speaker the sound in the room is the talker's, when it is said.
                remappings=() if speaker else (("audio_played", "audio"),),
                isolated=True,
            )
        )
        wait_for.append("joint_states")
    graph.append(
        Process(
            package="emo_motor_drivers",
            executable="drivers",
            node_name="",
            namespace=robot_ns,
            parameters=dict(robot),
        )
    )
    graph.append(
        Process(
            package="emo_motor_drivers",
            executable="arbiter",
            node_name="arbiter",
            namespace=robot_ns,
            parameters={**robot, "sources": ["lipsync", "mimic"]},
        )
    )
    graph.append(
        Process(
            package="emo_inverse_model",
            executable="inverse_model",
            node_name="inverse_model",
            namespace=lipsync_ns,
            parameters={**robot, "source": "lipsync"},
        )
    )
    graph.append(
        Process(
            package="emo_normalization",
            executable="normalization",
            node_name="normalization",
            namespace=lipsync_ns,
            parameters={**robot, "static_face": options.static_face},
        )
    )
    graph.append(
        Process(
            package="emo_audio2landmark",
            executable="audio2landmark",
            node_name="audio2landmark",
            namespace=robot_ns,
            parameters={
                **common,
                "model": VARIANTS[options.lookahead],
                "static_face": options.static_face,
                "mouth_gain": options.mouth_gain,
            },
        )
    )
    graph.append(
        Process(
            package="emo_speech_features",
            executable="speech_features",
            node_name="speech_features",
            namespace=robot_ns,
            parameters=dict(common),
        )
    )
    if speaker:
        graph.append(
            Process(
                package="emo_microphone",
                executable="speaker",
                node_name="speaker",
                namespace=robot_ns,
                parameters=dict(robot),
            )
        )
        if options.view:
            wait_for.append("audio_played")
    graph.append(
        Process(
            package="emo_microphone",
            executable="microphone",
            node_name="microphone",
            namespace=robot_ns,
            parameters={
                **common,
                "source": options.source,
                "path": options.speech,
                "device": options.device,
                "wait_for": wait_for,
            },
        )
    )
    return graph
