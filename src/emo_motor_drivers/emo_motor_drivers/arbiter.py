"""Node: motor commands of every pipeline, and gaze -> motor_command, and who drives what."""

from __future__ import annotations

import math
import time
from functools import partial

from emo_interfaces.msg import ArbiterState, Gaze, MotorCommand
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.mimic.own_image import OWN, OwnImage
from emo_core.pipelines import MIMIC, PIPELINES
from emo_core.robot.description import RobotDescription
from emo_core.robot.gaze import gaze_positions
from emo_motor_drivers.arbitration import (
    FADE_S,
    GAZE,
    HOLD_S,
    MANUAL,
    TIMEOUT_S,
    Arbitration,
)
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError, floats, motor_positions, nanoseconds, stages
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.running import run

PARAMETERS = (
    ROBOT,
    Parameter("sources", list(PIPELINES), "pipelines; each has its motor_command topic"),
    Parameter("fade_s", FADE_S, "length of the cross-fade at a change of source", 0.0, 2.0),
    Parameter("hold_s", HOLD_S, "the mouth stays with lipsync so long after speech", 0.0, 5.0),
    Parameter("greet", True, "see by a raise of the brows whether a new face is the robot's own"),
    Parameter("timeout_s", TIMEOUT_S, "a source not heard for so long is gone", 0.05, 5.0),
)

STATE_PERIOD_S = 0.2
#: The state is told again so often: to those who came later.
REPEAT_S = 1.0
OWN_IMAGE = "the face seen is the robot's own (a mirror, a screen): it is not followed"


class ArbiterNode(Node):
    """Subscribes `<source>/motor_command` of pipelines and of `manual`, and `mimic/gaze`.

    Publishes `motor_command`, one for each that comes in, with the motors that it had a part in
    (none, where others drive them all); and `arbiter_state`.
    """

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("arbiter", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._robot = robot = RobotDescription.load(self._kit.text("robot"))
        pipelines = [*dict.fromkeys([*self._kit.texts("sources"), MANUAL])]
        fade_s, hold_s = self._kit.number("fade_s"), self._kit.number("hold_s")
        timeout_s = self._kit.number("timeout_s")
        own_image = OwnImage(robot) if self._kit.flag("greet") else None
        sources = [*pipelines, GAZE]
        self._arbitration = Arbitration.of(robot, sources, fade_s, hold_s, timeout_s, own_image)
        self._shown: dict[str, tuple[str, float]] = {}
        self._shown_s = -math.inf
        self._publisher = self.create_publisher(MotorCommand, "motor_command", qos.FRAMES)
        self._state = self.create_publisher(ArbiterState, "arbiter_state", qos.FRAMES)
        for source in pipelines:
            callback = partial(self._on_command, source)
            self._kit.subscribe(MotorCommand, f"{source}/motor_command", callback, qos.FRAMES)
        if GAZE in self._arbitration.drivers:
            self._kit.subscribe(Gaze, f"{MIMIC}/gaze", self._on_gaze, qos.FRAMES)
        self._timer = self.create_timer(
            STATE_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _on_command(self, name: str, source: MotorCommand) -> None:
        positions = motor_positions(source) if source.valid else {}
        strange = positions.keys() - set(self._robot.names)
        if strange:
            self._kit.health.fault("unknown_motors", f"no motors {', '.join(sorted(strange))}")
        known = {motor: at for motor, at in positions.items() if motor not in strange}
        self._relay(name, source, known, source.active)

    def _on_gaze(self, source: Gaze) -> None:
        """Angles of the eyeballs, as a command of the motors that turn them; none at the end."""
        if not (math.isfinite(source.yaw) and math.isfinite(source.pitch)):
            raise BadMessageError("gaze with angles that are not finite")
        positions: dict[str, float] = {}  # at the end they are eased to neutral, as all motors are
        if not source.end_of_stream:
            positions = gaze_positions(self._robot, source.yaw, source.pitch)
        self._relay(GAZE, source, positions, source.valid)

    def _relay(
        self, name: str, source: MotorCommand | Gaze, positions: dict[str, float], active: bool
    ) -> None:
        """Send on what the source has a part in."""
        self._kit.health.follow(source.frame, name)
        stamp_ns, target_ns = nanoseconds(source.header.stamp), nanoseconds(source.target_time)
        selected = self._arbitration.feed(
            name, positions, active, stamp_ns, target_ns, time.monotonic()
        )
        now = self._kit.now()
        message = MotorCommand(
            header=source.header, frame=source.frame, target_time=source.target_time, source=name,
            names=list(selected), positions=floats(list(selected.values())), valid=bool(selected),
            active=active, end_of_stream=source.end_of_stream, stage_ms=stages(source, now),
        )  # fmt: skip
        self._publisher.publish(message)
        self._kit.health.done((now - stamp_ns) * 1e-6)
        if source.end_of_stream:
            self._arbitration.end(name)
        self._show()

    def _on_timer(self) -> None:
        self._arbitration.expire(time.monotonic())
        self._show()

    def _show(self) -> None:
        if face := self._arbitration.face:
            self._kit.health.values["face"] = face
        if face == OWN and not self._kit.health.warning:
            self.get_logger().warning(OWN_IMAGE)
        self._kit.health.warning = OWN_IMAGE if face == OWN else ""
        drivers, now_s = self._arbitration.drivers, time.monotonic()
        if drivers == self._shown and now_s - self._shown_s < REPEAT_S:
            return
        self._shown, self._shown_s = drivers, now_s
        for group, (source, _) in drivers.items():
            self._kit.health.values[group] = source or "at rest"
        self._state.publish(
            ArbiterState(
                header=Header(stamp=self.get_clock().now().to_msg()),
                groups=list(drivers),
                sources=[source for source, _ in drivers.values()],
                blend=floats([blend for _, blend in drivers.values()]),
            )
        )


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [ArbiterNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
