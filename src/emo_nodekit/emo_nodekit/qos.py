"""How deep the queues are, and what may be lost."""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliability: ReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)


#: Audio and its features: a gap is a fault. Two seconds of chunks.
STREAM = _profile(100, ReliabilityPolicy.RELIABLE)
#: Frames at 25 Hz: nothing is lost on the way, nor in a stall of up to a second; after a longer one
#: only the newest count.
FRAMES = _profile(25, ReliabilityPolicy.RELIABLE)
#: Measured joint positions, at up to 200 Hz.
STATES = _profile(20, ReliabilityPolicy.RELIABLE)
#: Pictures: only the newest. Reliable, since best effort loses most large messages.
IMAGE = _profile(1, ReliabilityPolicy.RELIABLE)
#: Packed pictures are small: in a stall of some images none is lost, since the tracker, several
#: times as fast as a camera, is soon at the newest again.
PACKED = _profile(10, ReliabilityPolicy.RELIABLE)
#: Who sends packed pictures keeps more than its readers ask for: the recorder, which must not miss
#: one, may have them sent again after a stall of two seconds.
PACKED_KEPT = _profile(50, ReliabilityPolicy.RELIABLE)
#: Who only looks (the dashboard, `./emo top`): a reader that asks for nothing again, and so cannot
#: cost a publisher anything but the sending.
GLANCE = _profile(100, ReliabilityPolicy.BEST_EFFORT)
