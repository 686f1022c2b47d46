"""Lifecycle node: motor_command -> servos of one group (eye or mouth), and their joint_states."""

from __future__ import annotations

from emo_interfaces.msg import MotorCommand
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from emo_core.errors import EmoError
from emo_motor_drivers.share import Share
from emo_motor_drivers.shared import Shared
from emo_motor_drivers.starting import FAILURE, SUCCESS, SelfStart
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import motor_positions, nanoseconds, stamp
from emo_nodekit.parameters import ROBOT, Parameter, Value

PARAMETERS = (
    ROBOT,
    Parameter("autostart", True, "configure and activate without being asked"),
    Parameter("state_steps", 2, "joint_states follow every n-th step of the servo line", 1, 100),
)


class DriverNode(LifecycleNode):
    """`eye_driver` or `mouth_driver`: one class, two groups of motors, one `Head` for both.

    Writes a command when it arrives; the head goes on in between, and brings the motors to
    neutral when commands cease. `~/estop` (std_srvs/SetBool) of either driver stops them all.
    """

    def __init__(
        self,
        group: str,
        shared: Shared,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{group}_driver", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._shared = shared
        self._head, self._journal = shared.get(group, self, self._kit)
        self._group, self._share = group, Share(self._head, group)
        self._states = self.create_publisher(JointState, "joint_states", qos.STATES)
        self.create_service(SetBool, "~/estop", self._on_estop)
        self._subscription: Subscription | None = None
        self._kit.health.values["if_this_dies"] = self._head.guarantee
        # The other driver's going off is seen here as well, and when this one has left.
        self.create_timer(1.0, lambda: self._kit.health.values.update(self._share.state()))
        self._configured = False
        self._starting: SelfStart | None = None
        if self._kit.flag("autostart"):
            self._starting = SelfStart(
                self, lambda: self._configured, lambda: self._subscription is not None
            )

    # -- lifecycle ---------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the bus; nothing moves."""
        try:
            self._head.open(self._group)
        except (EmoError, OSError) as error:
            return self._failed(error)
        self._configured = True
        self._kit.health.error = ""
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Torque on, from where the servos are; listen."""
        try:
            self._head.activate(self._group)
        except (EmoError, OSError) as error:
            return self._failed(error)
        self._share.listen(self._tell, int(self._kit.number("state_steps")))
        self._subscription = self._kit.subscribe(
            MotorCommand, "motor_command", self._on_command, qos.FRAMES
        )
        return super().on_activate(state)

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        if self._kit.health.error != str(error):
            self.get_logger().error(str(error))
        self._kit.health.error = str(error)
        return FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Neutral pose, and with the last driver torque off."""
        self._leave()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Nothing more: the port is given back with the process."""
        self._configured = False
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate."""
        self._leave()
        return SUCCESS

    def stop(self) -> None:
        """The process ends: neutral, torque off, port given back, records on disk."""
        self._leave()
        self._head.close(self._group)
        self._shared.give_back(self._group)

    def _leave(self) -> None:
        try:
            if self._starting is not None:
                self._starting.end()
            if self._subscription is not None:
                self.destroy_subscription(self._subscription)
                self._subscription = None
        finally:
            self._head.deactivate(self._group)
            self._share.leave()

    # -- work --------------------------------------------------------------------------------

    def _on_command(self, message: MotorCommand) -> None:
        received = self._kit.now()
        positions = motor_positions(message) if message.valid else {}
        if strangers := self._share.strangers(positions):
            self._kit.health.fault("unknown_motors", f"no motors {', '.join(strangers)}")
        if not self._share.concerned(positions):
            self._journal.command(self.get_name(), None, message, received)
            return
        stamp_ns = nanoseconds(message.header.stamp)
        written = self._head.command(positions, (message.source, message.frame, stamp_ns))
        if written is None:
            return
        self._journal.command(self.get_name(), written, message, received)
        self._kit.health.done((self._kit.now() - stamp_ns) * 1e-6)
        self._kit.health.values["limited_by"] = self._share.limits(written)

    def _tell(self) -> None:
        while self._head.news:
            self.get_logger().warning(self._head.news.popleft())
        self._report()
        seen = self._share.fresh()
        if seen is not None:
            message = JointState(name=seen.names, position=seen.radians.tolist())
            message.header.stamp = stamp(self._kit.now() - int(seen.age_s * 1e9))
            self._states.publish(message)

    def _report(self) -> None:
        health = self._kit.health
        health.values.update(self._share.state())
        health.error, health.warning = self._head.trouble, self._share.rests()

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._shared.estop(request.data)
        self._report()
        return response
