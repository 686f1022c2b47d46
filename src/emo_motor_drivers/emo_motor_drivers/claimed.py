"""What a claim to a robot's servos leaves for other processes, and for the next one. No ROS.

Files in the system's temporary folder: `.lock`, named by the device, is held by who drives it, and
keeps the positions sent last. Named by the port as the robot's file has it, which a device that is
plugged in again keeps: `.owner` says who drives it, until the servos have no torque; `.estop` says
why nobody may move them, until `./emo stop --release`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from emo_core.locks import is_held
from emo_core.robot.description import BusDescription, RobotDescription


@dataclass(frozen=True)
class Owner:
    """What `./emo stop` must know of a process that drives a robot.

    Attributes:
        domain: ROS domain of the drivers; -1 for who drives it without ROS.
        namespace: of the drivers; "" is the root.
        door: path of the socket at which the process takes orders; "" if at none.
    """

    domain: int = -1
    namespace: str = ""
    door: str = ""


def place(description: RobotDescription, owner: Owner) -> Path:
    """Where the files of a robot are, their suffix left out."""
    bus = description.bus
    if bus.is_device:
        return _stem(os.path.abspath(bus.port))
    name = description.name if bus.in_process else bus.port
    return _stem(f"{name}/{owner.domain}/{owner.namespace}")


def lock_path(description: RobotDescription, owner: Owner) -> Path:
    """The lock of a robot's servos: one for each device, whatever its name."""
    bus = description.bus
    stem = _stem(os.path.realpath(bus.port)) if bus.is_device else place(description, owner)
    return _file(stem, "lock")


def _stem(name: str) -> Path:
    return _folder() / f"emo-{os.getuid()}-{re.sub('/+', '-', name.strip('/'))}"


def _file(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")


@dataclass(frozen=True)
class Record:
    """A claim whose process did not end it, as other processes find it.

    Attributes:
        place: of its files, their suffix left out.
        lock: the file that its process holds.
        robot: its name.
        file: of its description.
        kind, port: of its bus.
        pid: of the process.
        owner: what that said of itself.
    """

    place: Path
    lock: Path
    robot: str
    file: str
    kind: str
    port: str
    pid: int
    owner: Owner

    @classmethod
    def of(cls, description: RobotDescription, owner: Owner, pid: int) -> Record:
        """What the process `pid` is to leave."""
        files = place(description, owner), lock_path(description, owner)
        bus, file = description.bus, str(Path(description.file).resolve())
        return cls(*files, description.name, file, bus.kind, bus.port, pid, owner)

    @property
    def who(self) -> str:
        """The robot, for people."""
        port = "" if self.simulated else f" on {self.port}"
        domain = f" in ROS domain {self.owner.domain}" if self.owner.domain >= 0 else ""
        return f"robot '{self.robot}'{port}{domain}"

    @property
    def simulated(self) -> bool:
        """Whether its servos exist in the process of its driver alone."""
        return BusDescription(self.kind, self.port).in_process

    @property
    def ours(self) -> bool:
        """Whether it is this user's, or this is root, who may do everything."""
        return str(os.getuid()) in ("0", self.place.name.split("-", 2)[1])

    @property
    def held(self) -> bool:
        """Whether some process holds the claim now."""
        return is_held(self.lock)

    @property
    def is_left(self) -> bool:
        """Whether some process left one here, which did not switch torque off."""
        return _file(self.place, "owner").exists()

    def at_port_of(self, description: RobotDescription) -> bool:
        """Whether that is where it was driven, by whichever user."""
        return _name(place(description, self.owner)) == _name(self.place)

    def holder(self) -> int | None:
        """The process that holds the claim; None if nobody does, or it cannot be seen from here.

        It is the one that wrote its number here when it had the lock, and that still has the lock's
        file open: a number alone may be another process's by now.
        """
        if not self.held:
            return None
        folder = Path("/proc", str(self.pid), "fd")
        with contextlib.suppress(OSError):
            lock = self.lock.stat()
            for link in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    if os.path.samestat(link.stat(), lock):
                        return self.pid
        return None

    def write(self) -> None:
        """Leave it for others, whole."""
        values = {**asdict(self), "place": "", "lock": str(self.lock)}
        _write(_file(self.place, "owner"), json.dumps(values), self.lock)

    def remove(self) -> None:
        """The servos have no torque. Raises OSError."""
        _file(self.place, "owner").unlink(missing_ok=True)


def records() -> list[Record]:
    """Claims of this machine that are held, or whose process ended without a word."""
    found = []
    for path in sorted(_folder().glob("emo-*-*.owner")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # gone; another version
            values = json.loads(path.read_text())
            values |= {
                "place": path.with_suffix(""),
                "lock": Path(values["lock"]),
                "owner": Owner(**values["owner"]),
            }
            found.append(Record(**values))
    return found


def marks() -> list[Path]:
    """`place` of the robots of this machine whose e-stop is set."""
    return [path.with_suffix("") for path in sorted(_folder().glob("emo-*-*.estop"))]


def why_stopped(stem: Path) -> str:
    """Why the e-stop of a robot is set; "" if it is not."""
    try:
        return _file(stem, "estop").read_text().strip() or "nobody said why"
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        return f"nobody can read why: {error}"


def mark(stem: Path, why: str) -> str:
    """Set a robot's e-stop, for whoever drives it next; returns what that will read.

    Raises:
        OSError: it cannot be written.
    """
    text = f"{time.strftime('%F %T')}, {why}"
    _write(_file(stem, "estop"), f"{text}\n", _file(stem, "owner"))
    return text


def unmark(stem: Path) -> None:
    """Release the e-stop of a robot. Raises OSError."""
    _file(stem, "estop").unlink(missing_ok=True)


def _name(stem: Path) -> str:
    """Without the user."""
    return stem.name.split("-", 2)[2]


def _write(path: Path, text: str, like: Path) -> None:
    """Leave a file, whole, to the owner of another one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    with contextlib.suppress(OSError):  # not root, or a robot that nobody drove
        os.chown(fresh, like.stat().st_uid, -1)
    fresh.replace(path)


def _folder() -> Path:
    return Path(tempfile.gettempdir())
