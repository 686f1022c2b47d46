"""Lifecycle node: motor_command -> servos of one group (eye or mouth), and their joint_states."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
from emo_interfaces.msg import MotorCommand
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from emo_core.errors import EmoError
from emo_motor_drivers.head import Written
from emo_motor_drivers.journal import words
from emo_motor_drivers.shared import Shared
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import motor_positions, nanoseconds, stamp
from emo_nodekit.parameters import ROBOT, Parameter, Value

PARAMETERS = (
    ROBOT,
    Parameter("autostart", True, "configure and activate without being asked"),
    Parameter("state_steps", 2, "joint_states follow every n-th step of the servo line", 1, 100),
)

#: A driver that starts by itself and finds no servos looks again after so long.
RETRY_S = 1.0

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


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
        description = self._head.description
        self._group = group
        self._indices = description.group(group)
        self._names = [description.names[i] for i in self._indices]
        self._known = set(description.names)
        self._states = self.create_publisher(JointState, "joint_states", qos.STATES)
        self.create_service(SetBool, "~/estop", self._on_estop)
        self._subscription: Subscription | None = None
        self._every, self._steps = int(self._kit.number("state_steps")), 0
        self._shown_s = np.full(len(self._indices), -np.inf)
        self._kit.health.values["if_this_dies"] = self._head.guarantee
        self._configured = False
        self._telling = threading.Lock()
        self._retry: Timer | None = None
        if self._kit.flag("autostart") and not self._start():
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._retry = self.create_timer(RETRY_S, self._start, clock=steady)

    # -- lifecycle ---------------------------------------------------------------------------

    def _start(self) -> bool:
        """Configure and activate, as far as that is still to be done; whether it worked."""
        started = self._subscription is not None
        if not started and (self._configured or self.trigger_configure() == SUCCESS):
            started = self.trigger_activate() == SUCCESS
        if started:
            self._end_retry()
        return started

    def _end_retry(self) -> None:
        if self._retry is not None:
            self.destroy_timer(self._retry)
            self._retry = None

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
        self._head.listeners.append(self._on_step)
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
        self._end_retry()
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        self._head.deactivate(self._group)
        with self._telling:
            if self._on_step in self._head.listeners:
                self._head.listeners.remove(self._on_step)

    # -- work --------------------------------------------------------------------------------

    def _on_command(self, message: MotorCommand) -> None:
        received = self._kit.now()
        positions = motor_positions(message) if message.valid else {}
        strange = positions.keys() - self._known
        if strange:
            self._kit.health.fault("unknown_motors", f"no motors {', '.join(sorted(strange))}")
        if not any(name in positions for name in self._names):
            self._journal.command(self.get_name(), None, message, received)
            return
        stamp_ns = nanoseconds(message.header.stamp)
        written = self._head.command(positions, (message.source, message.frame, stamp_ns))
        if written is None:
            return
        self._journal.command(self.get_name(), written, message, received)
        self._kit.health.done((self._kit.now() - stamp_ns) * 1e-6)
        self._kit.health.values["limited_by"] = words(written.reasons[self._indices]) or "nothing"

    def _on_step(self, written: Written | None) -> None:
        """Called by the head's own thread, which may be about to when this driver leaves."""
        with self._telling:
            if self._on_step in self._head.listeners:
                self._step()

    def _step(self) -> None:
        while self._head.news:
            self.get_logger().warning(self._head.news.popleft())
        self._steps += 1
        if self._steps % self._every and not self._head.fault:
            return
        self._report()
        positions, all_times_s = self._head.measured()
        times_s = all_times_s[self._indices]
        fresh = np.flatnonzero(times_s > self._shown_s)  # a slow line tells of a few at a time
        if fresh.size == 0:
            return
        self._shown_s = times_s
        age_ns = int((time.monotonic() - times_s[fresh].max()) * 1e9)
        radians = self._head.description.to_radians(positions)[self._indices]
        message = JointState(name=[self._names[i] for i in fresh])
        message.header.stamp = stamp(self._kit.now() - age_ns)
        message.position = radians[fresh].tolist()
        self._states.publish(message)

    def _report(self) -> None:
        health, head = self._kit.health, self._head
        health.values["torque"] = "on" if head.torque_on else "off"
        health.values["own_watchdog"] = head.own_watchdog
        told = [head.care.protector.told(motor).temperature_c for motor in self._indices]
        known = [(t, name) for t, name in zip(told, self._names, strict=True) if math.isfinite(t)]
        if known:
            temperature, health.values["hottest"] = max(known)
            health.values["temperature_c"] = f"{temperature:.0f}"
        health.error = head.trouble
        health.warning = "; ".join(
            f"{head.description.names[motor]} rests: {why}"
            for motor, why in head.care.rested.items()
            if motor in self._indices
        )

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._shared.estop(request.data)
        self._report()
        return response
