"""Node: audio -> loudspeaker, delayed so that sound meets lips; tells what was heard when."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from emo_interfaces.msg import AudioChunk, MotorCommand
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.rates import SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_microphone.loudspeaker import Loudspeaker
from emo_microphone.playout import Playout
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import audio_samples, floats, nanoseconds, numbers, stamp
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.running import run
from emo_nodekit.worker import start_worker

PARAMETERS = (
    ROBOT,
    Parameter("output", "auto", "auto: null without a device", choices=("auto", "device", "null")),
    Parameter("device", "", "loudspeaker's name or number; empty: the system's default"),
)

#: The pipeline that moves the lips; the arbiter passes its frames on also where others drive them.
SOURCE = "lipsync"
#: Without any motor command for so long, sound is played as it comes.
PATIENCE_S = 2.0
#: Sound is held for the servos' lag at least: where the pipeline shares this process it goes first.
AFTER_PIPELINE_S = 0.010


class SpeakerNode(Node):
    """Subscribes `audio` and `motor_command` (to measure the delay); publishes `audio_played`.

    `audio_played` is stamped with the time at which its last sample is heard. Without a sound
    device the same is published and nothing is heard (said once).
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("speaker", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        lag_s = RobotDescription.load(self._kit.text("robot")).servo_lag_s
        self._first_heard: float | None = None
        self._publisher = self.create_publisher(AudioChunk, "audio_played", qos.STREAM)
        self._playout = Playout(SAMPLE_RATE, round(lag_s * 1e9))
        device, health = self._kit.text("device"), self._kit.health
        self._loudspeaker = Loudspeaker(device, SAMPLE_RATE, self._on_device, health)
        self._thread: threading.Thread | None = None
        if self._open_device():
            self._thread = start_worker(self, "loudspeaker", self._loudspeaker.watch)
        else:
            self._playout = Playout(SAMPLE_RATE, round(lag_s * 1e9), keep=False)
        health.values["output"] = "null" if self._thread is None else "device"
        self._kit.subscribe(AudioChunk, "audio", self._on_audio, qos.STREAM)
        self._kit.subscribe(MotorCommand, "motor_command", self._on_command, qos.FRAMES)

    def stop(self) -> None:
        """Silence."""
        self._loudspeaker.close()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _on_command(self, message: MotorCommand) -> None:
        if message.source != SOURCE or message.end_of_stream or not len(message.stage_ms):
            return
        # When the arbiter sent it: it comes while `_on_audio` sleeps, and is read too late.
        age_ns = round(1e6 * float(numbers(message.stage_ms[-1:], "stage_ms")[0]))
        sent_ns = nanoseconds(message.header.stamp) + age_ns
        self._playout.measure(nanoseconds(message.target_time), sent_ns)

    def _on_audio(self, message: AudioChunk) -> None:
        time.sleep(AFTER_PIPELINE_S)
        samples = audio_samples(message, SAMPLE_RATE)
        now = time.monotonic()
        self._first_heard = now if self._first_heard is None else self._first_heard
        if now - self._first_heard > PATIENCE_S and self._playout.measured_ns is None:
            self._kit.health.fault("undelayed", "speaker: no motor commands, sound is not delayed")
            self._playout.give_up()
        captured = nanoseconds(message.header.stamp)
        for chunk in self._playout.push(message.first_sample, samples, captured):
            end = chunk.start_ns + round(len(chunk.samples) * 1e9 / SAMPLE_RATE)
            self._publisher.publish(
                AudioChunk(
                    header=Header(stamp=stamp(end), frame_id="speaker"),
                    first_sample=chunk.first_sample,
                    sample_rate=SAMPLE_RATE,
                    data=floats(chunk.samples),
                    total_samples=message.total_samples,
                    end_of_stream=message.end_of_stream,
                )
            )
        if self._playout.delay_ns is not None:
            self._kit.health.values["delay_ms"] = f"{self._playout.delay_ns * 1e-6:.1f}"
        self._kit.health.done()

    def _open_device(self) -> bool:
        """Whether there is a loudspeaker, or one is waited for."""
        wanted = self._kit.text("output")
        if wanted == "null":
            return False
        try:
            self._loudspeaker.open()
        except (OSError, ValueError) as error:
            why = f"no sound device ({error}): the sound is timed and recorded, but nobody hears it"
            self.get_logger().info(why)
            if wanted == "device":
                self._kit.health.error = why
            return wanted == "device"
        return True

    def _on_device(self, out: NDArray[np.float32], frames: int, times: Any, status: object) -> None:
        ahead_s = max(times.outputBufferDacTime - times.currentTime, 0.0)
        out[:, 0] = self._playout.pull(self._kit.now() + int(ahead_s * 1e9), frames)
        if status:
            self._kit.health.fault("underruns", f"speaker: {status}")


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [SpeakerNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
