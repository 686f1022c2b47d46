"""A lifecycle node that configures and activates itself, again and again until it works."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.timer import Timer

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

#: A node that starts by itself and does not get what it needs looks again after so long.
RETRY_S = 1.0


class SelfStart:
    """Begins at once, and goes on by a timer of the node until it is active or `end` is called.

    Args:
        node: asked for its transitions.
        configured: whether the node is configured.
        active: whether it is active.
    """

    def __init__(
        self, node: LifecycleNode, configured: Callable[[], bool], active: Callable[[], bool]
    ) -> None:
        self._node, self._configured, self._active = node, configured, active
        self._timer: Timer | None = None
        if not self._try():
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(RETRY_S, self._try, clock=steady)

    def _try(self) -> bool:
        """Configure and activate, as far as that is still to be done; whether it worked."""
        started = self._active()
        if not started and (self._configured() or self._node.trigger_configure() == SUCCESS):
            started = self._node.trigger_activate() == SUCCESS
        if started:
            self.end()
        return started

    def end(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
