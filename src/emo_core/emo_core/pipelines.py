"""The two pipelines: which node reads and writes which topic, in order."""

from __future__ import annotations

from dataclasses import dataclass

LIPSYNC, MIMIC = "lipsync", "mimic"


@dataclass(frozen=True)
class Stage:
    """A node on the way from sound or picture to the arbiter.

    Attributes:
        node: its name, and its executable's.
        reads: a topic, by its name relative to the robot, as are all here.
        writes: another.
        one_for_one: makes one message of each, and carries its stamp on.
    """

    node: str
    reads: str
    writes: str
    one_for_one: bool = True


#: From the source's topic to the pipeline's motor commands.
PIPELINES: dict[str, tuple[Stage, ...]] = {
    LIPSYNC: (
        Stage("speech_features", "audio", "speech_features", one_for_one=False),
        Stage("audio2landmark", "speech_features", "lipsync/landmarks", one_for_one=False),
        Stage("normalization", "lipsync/landmarks", "lipsync/robot_landmarks"),
        Stage("inverse_model", "lipsync/robot_landmarks", "lipsync/motor_command"),
    ),
    MIMIC: (
        Stage("face_tracking", "image/compressed", "mimic/landmarks"),
        Stage("predictive_model", "mimic/landmarks", "mimic/predicted"),
        Stage("normalization", "mimic/predicted", "mimic/robot_landmarks"),
        Stage("inverse_model", "mimic/robot_landmarks", "mimic/motor_command"),
    ),
}
#: What the recorder listens to from the moment it records: sources wait for it. A text published
#: here marks a place in the recording.
MARK = "recorder/mark"
#: Where a pipeline ends.
COMMANDS = {name: stages[-1].writes for name, stages in PIPELINES.items()}
#: Its human landmarks, as they come to the robot.
LANDMARKS = {
    name: next(stage.reads for stage in stages if stage.node == "normalization")
    for name, stages in PIPELINES.items()
}


def topics(pipeline: str) -> list[str]:
    """All of a pipeline's topics, in order."""
    stages = PIPELINES[pipeline]
    return [stages[0].reads, *(stage.writes for stage in stages)]


def readers(pipeline: str) -> dict[str, str]:
    """Topic -> the node that reads it, in order."""
    return {stage.reads: stage.node for stage in PIPELINES[pipeline]}


def one_for_one(pipeline: str) -> list[str]:
    """Topics at the pipeline's end whose messages have the same stamps, in order."""
    others = [i for i, stage in enumerate(PIPELINES[pipeline], 1) if not stage.one_for_one]
    return topics(pipeline)[max(others, default=0) :]
