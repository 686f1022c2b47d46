"""Node: the simulated robot itself, on the far side of ROS topics (bus.kind ros)."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool

from emo_core.robot.bus import ServoBus
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.camera import Camera
from emo_core.robot.sim.servos import SimBus
from emo_nodekit import qos
from emo_nodekit.joints import LATCHED, LISTEN, SEND, joint_angles, joint_state, topic
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.pictures import rendered
from emo_nodekit.running import Spinner, run

PARAMETERS = (
    ROBOT,
    Parameter("rate_hz", 100.0, "of joint_states", 1.0, 1000.0),
    Parameter("image_rate_hz", 25.0, "of its camera's picture, if somebody looks", 1.0, 60.0),
)


class SimRobotNode(Node):
    """The servos of the robot's `simulator` section, and the camera before it.

    Below the prefix that the robot's file gives as `bus.port` (`robot` where it gives none):
    subscribes `joint_command` and `torque`, publishes `joint_states` and, while somebody listens,
    `image` (bgr8). Goals that cease are held.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
        description: RobotDescription | None = None,
        context: Context | None = None,
    ) -> None:
        place = placed(namespace, parameters, remappings)
        super().__init__("sim_robot", context=context, **place)
        self._kit = Kit(self, PARAMETERS)
        self._robot = description or RobotDescription.load(self._kit.text("robot"))
        self._servos = SimBus(self._robot)
        self._servos.open()
        self._goals = dict(zip(self._robot.names, self._robot.neutral.tolist(), strict=True))
        self._camera: Camera | None = None
        self._states = self.create_publisher(JointState, topic(self._robot, "joint_states"), SEND)
        self._images = self.create_publisher(Image, topic(self._robot, "image"), qos.IMAGE)
        commands = topic(self._robot, "joint_command")
        self._kit.subscribe(JointState, commands, self._on_command, LISTEN)
        self._kit.subscribe(Bool, topic(self._robot, "torque"), self._on_torque, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / self._kit.number("rate_hz"), self._on_timer, clock=steady)
        self.create_timer(1.0 / self._kit.number("image_rate_hz"), self._look, clock=steady)

    def _on_command(self, message: JointState) -> None:
        angles = joint_angles(message)
        strange = angles.keys() - self._goals.keys()
        if strange:
            raise BadMessageError(f"no joints {', '.join(sorted(strange))}")
        for motor in self._robot.motors:
            if motor.name in angles:
                low, high = motor.range_rad
                self._goals[motor.name] = (angles[motor.name] - low) / (high - low)
        self._servos.write(list(self._goals.values()))
        self._kit.health.done()

    def _on_torque(self, message: Bool) -> None:
        self._servos.torque(message.data)
        here = self._servos.read().tolist()
        self._goals = dict(zip(self._robot.names, here, strict=True))

    def _on_timer(self) -> None:
        message = joint_state(self._robot.names, self._robot.to_radians(self._servos.read()))
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)

    def _look(self) -> None:
        if not self._images.get_subscription_count():
            return
        if self._camera is None:
            self._camera = Camera(self._robot)
        picture = self._camera(self._servos.horns(), time.monotonic())
        self._images.publish(rendered(picture, self._kit.now()))


class FakeRos:
    """The simulated robot in the process of its driver, for port `fake`."""

    @classmethod
    def attach(
        cls, bus: Callable[[RobotDescription], ServoBus], description: RobotDescription
    ) -> ServoBus:
        """A bus of this class with the simulated robot behind it, which goes when the bus does."""
        made = bus(description)
        context = rclpy.utilities.get_default_context()
        if not context.ok():
            context = Context()
            rclpy.init(args=[], context=context)
        namespace = getattr(made, "namespace", "")
        node = SimRobotNode(namespace, description=description, context=context)
        spinner = Spinner([node])
        spinner.start()
        weakref.finalize(made, spinner.stop)
        return made


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [SimRobotNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
