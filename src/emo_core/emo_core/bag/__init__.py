"""Recordings of the graph: rosbag2 in MCAP, written and read without ROS (docs/replay.md)."""

from emo_core.bag.reader import Bag, Raw, complete
from emo_core.bag.writer import BagWriter, Limits, Topic

__all__ = ["Bag", "BagWriter", "Limits", "Raw", "Topic", "complete"]
