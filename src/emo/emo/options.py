"""What an operator can choose of the graph: one table for launch files and the composed process."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from emo_core.lipsync import VARIANTS
from emo_core.pipelines import LIPSYNC, MIMIC
from emo_core.robot import DEFAULT_ROBOT

BOTH = "both"


@dataclass(frozen=True)
class GraphOptions:
    """Each option is a launch argument, with its help and choices.

    Metadata `only` names the pipeline without which an option means nothing.
    """

    pipeline: str = field(
        default=LIPSYNC,
        metadata={
            "help": "what runs: lipsync (audio to lips), mimic (camera to expression) or both",
            "choices": (LIPSYNC, MIMIC, BOTH),
        },
    )
    source: str = field(
        default="device",
        metadata={
            "help": "where audio comes from: device, file or topic",
            "choices": ("device", "file", "topic"),
            "only": LIPSYNC,
        },
    )
    speech: str = field(
        default="", metadata={"help": "the recording, for source:=file", "only": LIPSYNC}
    )
    device: str = field(
        default="",
        metadata={
            "help": "microphone's name or number; empty: the system's default",
            "only": LIPSYNC,
        },
    )
    camera: str = field(
        default="device",
        metadata={
            "help": "where images come from: device, file or topic",
            "choices": ("device", "file", "topic"),
            "only": MIMIC,
        },
    )
    video: str = field(default="", metadata={"help": "the video, for camera:=file", "only": MIMIC})
    camera_device: str = field(
        default="0",
        metadata={"help": "camera's number, /dev path or URL (rtsp://...)", "only": MIMIC},
    )
    camera_topic: str = field(
        default="",
        metadata={
            "help": "for camera:=topic: sensor_msgs/Image here, or CompressedImage on its "
            "/compressed; empty: image_in",
            "only": MIMIC,
        },
    )
    predict: bool = field(
        default=True,
        metadata={
            "help": "head for the expression that is coming, instead of following",
            "only": MIMIC,
        },
    )
    faces: str = field(
        default="",
        metadata={"help": "folder of faces at rest, kept by name; empty: none", "only": MIMIC},
    )
    person: str = field(
        default="",
        metadata={
            "help": "who is in view, by the name in faces; empty: found out by looking",
            "only": MIMIC,
        },
    )
    robot: str = field(
        default=DEFAULT_ROBOT, metadata={"help": "robot: a name in config/robots, or a YAML file"}
    )
    lookahead: str = field(
        default="full",
        metadata={
            "help": "full (240 ms; the robot's own speech) or live (someone talks to it)",
            "choices": tuple(VARIANTS),
            "only": LIPSYNC,
        },
    )
    static_face: str = field(
        default="",
        metadata={
            "help": "the talker's resting face (.npz of `emo track`), or empty",
            "only": LIPSYNC,
        },
    )
    mouth_gain: float = field(
        default=1.0, metadata={"help": "factor on the mouth's opening", "only": LIPSYNC}
    )
    speaker: bool = field(
        default=True,
        metadata={"help": "play the audio, delayed so that sound meets lips", "only": LIPSYNC},
    )
    view: bool = field(
        default=True, metadata={"help": "render the simulated robot's camera image (sim/image)"}
    )
    port: int = field(
        default=0, metadata={"help": "port of a web page with the live image; 0: none"}
    )
    dashboard: bool = field(
        default=False, metadata={"help": "a web page of everything: see dashboard_host, _port"}
    )
    dashboard_host: str = field(
        default="127.0.0.1",
        metadata={"help": "where the page is served; 0.0.0.0: for other machines, with a token"},
    )
    dashboard_port: int = field(
        default=8080, metadata={"help": "port of the page; taken: the next one that is free"}
    )
    out: str = field(
        default="", metadata={"help": "folder for commands.csv, sent.csv, robot.mp4 and traces"}
    )
    record: bool = field(
        default=False, metadata={"help": "record every topic (rosbag2, mcap), to be replayed"}
    )
    bag: str = field(
        default="",
        metadata={"help": "folder of the recording; empty: bag in `out`, else emo_ and the time"},
    )
    bag_mb: int = field(
        default=4000, metadata={"help": "largest recording, MB: the oldest part is deleted"}
    )
    namespace: str = field(default="", metadata={"help": "the robot's namespace"})
    use_sim_time: bool = field(default=False, metadata={"help": "pace and stamp by /clock"})

    @property
    def pipelines(self) -> tuple[str, ...]:
        """The pipelines that run."""
        return (LIPSYNC, MIMIC) if self.pipeline == BOTH else (self.pipeline,)

    @classmethod
    def of(cls, pipeline: str) -> list[Field[Any]]:
        """The options that mean something where `pipeline` runs; itself is none of them."""
        return [
            option
            for option in fields(cls)
            if option.name != "pipeline"
            and (pipeline == BOTH or option.metadata.get("only", pipeline) == pipeline)
        ]
