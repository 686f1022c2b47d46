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
from emo_core.robot.description import RobotDescription
from emo_core.robot.gaze import gaze_positions
from emo_motor_drivers.arbitration import (
    FADE_S,
    GAZE,
    HOLD_S,
    MANUAL,
    MIMIC,
    SPEECH,
    TIMEOUT_S,
    Arbitration,
    motor_groups,
)
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError, floats, motor_positions, nanoseconds, stages
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.running import run

PARAMETERS = (
    ROBOT,
    Parameter("sources", [SPEECH, MIMIC], "pipelines; each has its motor_command topic"),
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

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("arbiter", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._robot = robot = RobotDescription.load(self._kit.text("robot"))
        groups = motor_groups(robot)
        pipelines = [*dict.fromkeys([*self._kit.texts("sources"), MANUAL])]
        self._arbitration = Arbitration(
            groups,
            [*pipelines, GAZE],
            dict(zip(robot.names, robot.neutral.tolist(), strict=True)),
            robot.watchdog,
            self._kit.number("fade_s"),
            self._kit.number("hold_s"),
            self._kit.number("timeout_s"),
            OwnImage(robot) if self._kit.flag("greet") else None,
        )
        self._shown: dict[str, tuple[str, float]] = {}
        self._shown_s = -math.inf
        self._publisher = self.create_publisher(MotorCommand, "motor_command", qos.FRAMES)
        self._state = self.create_publisher(ArbiterState, "arbiter_state", qos.FRAMES)
        for source in pipelines:
            callback = partial(self._on_command, source)
            self._kit.subscribe(MotorCommand, f"{source}/motor_command", callback, qos.FRAMES)
        if "gaze" in groups:
            self._kit.subscribe(Gaze, f"{MIMIC}/gaze", self._on_gaze, qos.FRAMES)
        self._timer = self.create_timer(
            STATE_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _on_command(self, name: str, source: MotorCommand) -> None:
        self._kit.health.follow(source.frame, name)
        positions = self._known(motor_positions(source)) if source.valid else {}
        stamp_ns, target_ns = nanoseconds(source.header.stamp), nanoseconds(source.target_time)
        selected = self._arbitration.feed(
            name, positions, source.active, stamp_ns, target_ns, time.monotonic()
        )
        now = self._kit.now()
        message = MotorCommand(
            header=source.header,
            frame=source.frame,
            target_time=source.target_time,
            source=name,
            names=list(selected),
            positions=floats(list(selected.values())),
            valid=bool(selected),
            active=source.active,
            end_of_stream=source.end_of_stream,
            stage_ms=stages(source, now),
        )
        self._publisher.publish(message)
        self._kit.health.done((now - stamp_ns) * 1e-6)
        if source.end_of_stream:
            self._arbitration.end(name)
        self._show()

    def _known(self, positions: dict[str, float]) -> dict[str, float]:
        """Those of motors that this robot has."""
        strange = positions.keys() - set(self._robot.names)
        if strange:
            self._kit.health.fault("unknown_motors", f"no motors {', '.join(sorted(strange))}")
        return {name: at for name, at in positions.items() if name not in strange}

    def _on_gaze(self, source: Gaze) -> None:
        """Angles of the eyeballs, as a command of the motors that turn them; none at the end."""
        if not (math.isfinite(source.yaw) and math.isfinite(source.pitch)):
            raise BadMessageError("gaze with angles that are not finite")
        positions: dict[str, float] = {}  # at the end they are eased to neutral, as all motors are
        if not source.end_of_stream:
            positions = gaze_positions(self._robot, source.yaw, source.pitch)
        command = MotorCommand(
            header=source.header,
            frame=source.frame,
            target_time=source.target_time,
            names=list(positions),
            positions=floats(list(positions.values())),
            valid=bool(positions),
            active=source.valid,
            end_of_stream=source.end_of_stream,
            stage_ms=source.stage_ms,
        )
        self._on_command(GAZE, command)

    def _on_timer(self) -> None:
        self._arbitration.expire(time.monotonic())
        self._show()

    def _show(self) -> None:
        self._kit.health.values["face"] = face = self._arbitration.face
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
