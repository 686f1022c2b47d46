"""Runs nodes that share this process on one thread, message by message, without losing any."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription

from emo_core.errors import EmoError
from emo_nodekit.messages import nanoseconds

#: A message that was published and does not arrive for so long is lost.
LOST_S = 5.0
#: Between two looks for a message that is on its way (a middleware that delivers in its own time).
_LOOK_S = 0.0002


class Lockstep:
    """An executor for a chain of nodes: `settle` returns when everything sent has been handled.

    Publishers and subscriptions are counted from outside; nothing in a node knows of it. So that
    all is handled is known, not guessed from silence, and however busy the machine, no queue
    overflows. It does not look after timers and services.

    Args:
        sources: nodes that publish from outside.
        nodes: in the order in which messages pass them; they must not spin elsewhere.
        tap: called with (topic, message) for everything that `nodes` publish.
        lost: topic -> stamps (ns) of messages that get lost on their way to the next node.
    """

    def __init__(
        self,
        sources: Sequence[Node],
        nodes: Sequence[Node],
        tap: Callable[[str, Any], None],
        lost: Mapping[str, Collection[int]],
    ) -> None:
        self._lost = lost
        published = {p.topic_name for node in (*sources, *nodes) for p in node.publishers}
        self._subscriptions = [
            (subscription.topic_name, subscription, _takes_two(subscription.callback))
            for node in nodes
            for subscription in node.subscriptions
            if subscription.topic_name in published
        ]
        #: Topic -> messages sent and not handled yet.
        self._waiting = {topic: 0 for topic, _, _ in self._subscriptions}
        for node in (*sources, *nodes):
            for publisher in node.publishers:
                taps = None if node in sources else tap
                publisher.publish = self._counted(publisher.topic_name, publisher.publish, taps)

    def _counted(
        self,
        topic: str,
        publish: Callable[[Any], None],
        tap: Callable[[str, Any], None] | None,
    ) -> Callable[[Any], None]:
        @functools.wraps(publish)
        def counted(message: Any) -> None:
            if topic in self._waiting:
                self._waiting[topic] += 1
            publish(message)
            if tap is not None:
                tap(topic, message)

        return counted

    def settle(self) -> None:
        """Handle what is there, and what that sets off, until nothing is left.

        Raises:
            EmoError: a message was lost.
        """
        since = time.monotonic()
        while any(self._waiting.values()):
            if self._take():
                since = time.monotonic()
                continue
            if time.monotonic() - since > LOST_S:
                topic = next(topic for topic, count in self._waiting.items() if count)
                raise EmoError(
                    f"a message on {topic} did not arrive within {LOST_S:.0f} s: replay again, "
                    "with less running beside it"
                )
            time.sleep(_LOOK_S)

    def _take(self) -> bool:
        """Handle what has arrived, source first; whether there was anything."""
        any_taken = False
        for topic, subscription, takes_two in self._subscriptions:
            while self._waiting[topic] and (taken := _taken(subscription)) is not None:
                if not self._is_lost(topic, taken[0]):
                    subscription.callback(*(taken if takes_two else taken[:1]))
                self._waiting[topic] -= 1
                any_taken = True
        return any_taken

    def _is_lost(self, topic: str, message: Any) -> bool:
        lost = self._lost.get(topic, ())
        return bool(lost) and nanoseconds(message.header.stamp) in lost


def _taken(subscription: Subscription) -> tuple[Any, Any] | None:
    """The next message of a subscription and what is known about it, as rclpy's executors do."""
    with subscription.handle:
        taken: tuple[Any, Any] | None = subscription.handle.take_message(
            subscription.msg_type, subscription.raw
        )
    return taken


def _takes_two(callback: Callable[..., None]) -> bool:
    """Whether a callback takes the message's info, too."""
    try:
        inspect.signature(callback).bind(object(), object())
    except TypeError:
        return False
    return True
