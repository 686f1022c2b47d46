"""A fake device in a process of its own, which outlives the driver that talks to it.

    python -m emo_core.robot.buses.serve ROBOT LINK

ROBOT's fake stands behind the port LINK, whose name is printed when it is there, until standard
input closes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from emo_core.errors import EmoError
from emo_core.robot.bus import fake_class
from emo_core.robot.buses.fake import Device, FakeLine, FakeServos
from emo_core.robot.description import RobotDescription


def main() -> None:
    robot, link = sys.argv[1:]
    description = RobotDescription.load(robot)
    device = fake_class(description.bus.kind)
    if not issubclass(device, Device):
        raise EmoError(f"{description.file}: bus.kind {description.bus.kind} has no serial port")
    with FakeLine(device(FakeServos(description)), Path(link)):
        print(link, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
