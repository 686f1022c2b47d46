"""A whole recording from what a crash left."""

from __future__ import annotations

import sys
from pathlib import Path

from emo_core.bag.reader import Bag
from emo_core.bag.writer import BagWriter, Limits

#: Messages between two looks at the limits.
_BATCH = 1000


def repair(bag: Bag, folder: Path) -> int:
    """Write what can be read of `bag` as a recording with an index; returns its messages.

    Nothing of it is dropped, however large it is.

    Raises:
        EmoError: `folder` exists or cannot be written.
    """
    writer = BagWriter(folder, bag.info, Limits(total=sys.maxsize), bag.attached)
    count = 0
    for raw in bag.messages():
        topic = bag.topic(raw.topic)
        writer.write(topic, raw.log_ns, raw.publish_ns, raw.sequence, raw.data)
        count += 1
        if count % _BATCH == 0:
            writer.flush()
    writer.close()
    return count
