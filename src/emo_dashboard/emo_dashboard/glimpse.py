"""The newest message of each topic, taken when somebody wants to see it, and not before.

A callback for each message would cost the dashboard thousands of calls a second that nobody looks
at. Here the middleware keeps the newest few of each topic, and they are taken ten times a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from emo_interfaces.msg import (
    ArbiterState,
    AudioChunk,
    FaceLandmarks,
    MotorCommand,
    SpeechFeatures,
)
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState

#: Topics, relative to the robot: type, and how many messages between two looks count. Diagnostics
#: come from every node at its own time; sound, its features and commands are looked at in full.
TOPICS: dict[str, tuple[type, int]] = {
    "/diagnostics": (DiagnosticArray, 100),
    "arbiter_state": (ArbiterState, 10),
    "motor_command": (MotorCommand, 50),
    "joint_states": (JointState, 50),
    "audio": (AudioChunk, 50),
    "speech_features": (SpeechFeatures, 50),
    "lipsync/landmarks": (FaceLandmarks, 1),
    "lipsync/robot_landmarks": (FaceLandmarks, 1),
    "mimic/predicted": (FaceLandmarks, 1),
    "mimic/robot_landmarks": (FaceLandmarks, 1),
    "image/compressed": (CompressedImage, 1),
    "sim/image": (Image, 1),
}
#: Large messages in pieces: without repeats most would be lost.
_RELIABLE = ("image/compressed", "sim/image")


@dataclass
class Glimpse:
    """What came since the last look, oldest first; topics without news are absent.

    Attributes:
        bad: of each message that could not be read, its topic and why.
    """

    messages: dict[str, list[Any]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    def all(self, topic: str) -> list[Any]:
        """Every message of a topic."""
        return self.messages.get(topic, [])

    def newest(self, topic: str) -> Any | None:
        """The last message of a topic, or None."""
        messages = self.all(topic)
        return messages[-1] if messages else None


class Glance:
    """Subscriptions of a node of its own that nobody spins, while they are open."""

    def __init__(self, name: str, namespace: str, context: Context | None = None) -> None:
        self._node = Node(
            name,
            namespace=namespace,
            context=context,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._subscriptions: dict[str, Subscription] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything is received."""
        return bool(self._subscriptions)

    def open(self) -> None:
        """Begin to receive."""
        for topic, (kind, depth) in TOPICS.items():
            reliable = topic in _RELIABLE
            profile = QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=depth,
                reliability=ReliabilityPolicy.RELIABLE
                if reliable
                else ReliabilityPolicy.BEST_EFFORT,
            )
            self._subscriptions[topic] = self._node.create_subscription(
                kind, topic, lambda message: None, profile
            )

    def take(self) -> Glimpse:
        """What came since the last time."""
        glimpse = Glimpse()
        for topic, subscription in self._subscriptions.items():
            messages = []
            with subscription.handle:
                for _ in range(TOPICS[topic][1]):
                    try:
                        taken = subscription.handle.take_message(subscription.msg_type, False)
                    except (RuntimeError, ValueError) as error:  # no such message: not its CDR
                        glimpse.bad.append(f"{topic}: {error}")
                        continue
                    if taken is None:
                        break
                    messages.append(taken[0])
            if messages:
                glimpse.messages[topic] = messages
        return glimpse

    def close(self) -> None:
        """Receive nothing more: publishers send nothing here."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def destroy(self) -> None:
        """The end."""
        self.close()
        self._node.destroy_node()
