"""Sources in real time: when a piece of sound or a picture is due, and who must listen first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

from emo_core.pipelines import MARK
from emo_nodekit.kit import Kit
from emo_nodekit.parameters import Parameter

#: Two clocks read within this time of each other are taken to be read at once.
TIGHT_NS = 50_000
#: Clocks that have come apart by more were set; by less, it is the reading that was not exact, and
#: stamps keep the even steps of what they stamp.
SET_NS = 1_000_000
_ATTEMPTS = 5
#: Simulated time that goes back, or on by so much at once, was set (a bag that begins again).
JUMP_NS = 5_000_000_000
#: A clock that is back by so much between two stamps was set: one that runs slowly is not.
SET_BACK_NS = 500_000_000
#: Subscriptions that just appeared need a moment until all publishers know them: at least so long,
#: and longer where the machine was so busy that they took long to appear (as a share of that).
SETTLE_S, SETTLE_SHARE = 0.3, 0.2

#: Of nodes that are a source.
WAITING = (
    Parameter("wait_for", [""], "topics that must have a listener before anything is sent"),
    Parameter("wait_s", 30.0, "start all the same after so many seconds", 0.0, 600.0),
)


class Pacer:
    """A time line that starts at 0 with `start()`.

    Stamps are ROS time. The difference to the monotonic clock is looked at for each stamp, so that
    a clock which is set in mid-run moves them and never the pace. So does simulated time that
    jumps.
    """

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()
        self._simulated = bool(node.get_parameter("use_sim_time").value)
        self._stop = threading.Event()
        self._origin = 0
        self._offset: int | None = None
        self._ticked = threading.Condition()
        if self._simulated:
            each = JumpThreshold(
                min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1)
            )
            self._jumps = self._clock.create_jump_callback(each, post_callback=self._on_tick)

    def _on_tick(self, jump: TimeJump) -> None:
        """Simulated time goes on, or jumps."""
        delta_ns = jump.delta.nanoseconds
        with self._ticked:
            if not 0 <= delta_ns < JUMP_NS:
                self._origin += delta_ns
            self._ticked.notify_all()

    def start(self) -> None:
        """Now is 0."""
        self._origin = self._now()

    def stop(self) -> None:
        """End every wait, now and later."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait in real time, whatever the clock; False if stopped meanwhile."""
        return not self._stop.wait(seconds)

    def _now(self) -> int:
        return int(self._clock.now().nanoseconds) if self._simulated else time.monotonic_ns()

    def wait(self, due_ns: int) -> bool:
        """Wait until `due_ns` after the start; False if stopped meanwhile."""
        while (left := self._origin + due_ns - self._now()) > 0 and not self.stopped:
            if self._simulated:
                with self._ticked:
                    self._ticked.wait(0.1)
            else:
                time.sleep(min(left * 1e-9, 0.1))  # wakes within 0.1 ms, which an Event does not
        return not self.stopped

    def elapsed(self) -> int:
        """Nanoseconds since the start."""
        return self._now() - self._origin

    def stamp(self, due_ns: int) -> int:
        """ROS time (ns) of the moment `due_ns` after the start."""
        if self._simulated:
            return self._origin + due_ns
        for _ in range(_ATTEMPTS):
            before = time.monotonic_ns()
            ros = int(self._clock.now().nanoseconds)
            after = time.monotonic_ns()
            tight, offset = after - before < TIGHT_NS, ros - (before + after) // 2
            if self._offset is None or (tight and abs(offset - self._offset) > SET_NS):
                self._offset = offset
            if tight:
                break
        assert self._offset is not None  # the first attempt sets it
        return self._offset + self._origin + due_ns


class Timeline:
    """Stamps of ROS time on a line that no set clock breaks, for who keeps a past of its own.

    Args:
        now: ROS time, ns.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._ahead = self._before = now() - time.monotonic_ns()  # now, and before it was set
        self._set_ns = self._set_before_ns = 0  # what all the settings together come to

    def place(self, stamp_ns: int) -> int:
        """A stamp, ns -> where it is on the line, ns; right after the clock was set, too."""
        steady = time.monotonic_ns()
        ahead = self._now() - steady
        step = ahead - self._ahead
        if not -SET_BACK_NS < step < JUMP_NS:
            self._before, self._set_before_ns = self._ahead, self._set_ns
            self._set_ns += step
        self._ahead = ahead
        older = abs(stamp_ns - self._before - steady) < abs(stamp_ns - ahead - steady)
        return stamp_ns - (self._set_before_ns if older else self._set_ns)

    def stamp(self, placed_ns: int) -> int:
        """The way back: what the clock said, or would say now, of a place on the line."""
        return placed_ns + self._set_ns


def wait_for_graph(node: Node, kit: Kit, pacer: Pacer) -> bool:
    """Wait until the topics of parameter `wait_for` are listened to; False if stopped meanwhile."""
    topics = [topic for topic in kit.texts("wait_for") if topic]
    began = time.monotonic()
    while missing := [topic for topic in topics if _is_missed(node, topic, topics)]:
        if time.monotonic() - began >= kit.number("wait_s"):
            kit.health.fault("no_listener", f"nobody listens to {', '.join(missing)}")
            break
        if not pacer.pause(0.05):
            return False
    waited = time.monotonic() - began
    return pacer.pause(max(SETTLE_S, SETTLE_SHARE * waited) if topics else 0.0)


def _is_missed(node: Node, topic: str, topics: list[str]) -> bool:
    """Whether nobody listens to it, or the recorder, if that is waited for, not to our own yet."""
    listeners = node.get_subscriptions_info_by_topic(topic)
    own = [publisher.topic_name for publisher in node.publishers]
    if MARK not in topics or node.resolve_topic_name(topic) not in own:
        return not listeners
    recorders = node.get_subscriptions_info_by_topic(MARK)
    return not _names(recorders) <= _names(listeners)


def _names(subscriptions: list[TopicEndpointInfo]) -> set[tuple[str, str]]:
    """Namespace and name of each node."""
    return {(each.node_namespace, each.node_name) for each in subscriptions}
