"""One robot, as its YAML file says: validated once, frozen, and passed to everything that moves.

Units: a motor command is a number in [0, 1] over the motor's stroke, so speeds are strokes per
second and accelerations strokes per second squared. Angles are radians, lengths millimetres,
times seconds. Nothing in the code knows how many motors a robot has or what they are called.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.paths import config_dir
from emo_core.robot import DEFAULT_ROBOT
from emo_core.robot._parts import (
    BUSES,
    FAKE_PORT,
    GROUPS,
    WAYS,
    BusDescription,
    Dwell,
    Interlock,
    Motor,
    Moves,
    Protection,
    Watchdog,
    read_bus,
    read_dwell,
    read_interlocks,
    read_motors,
    read_protection,
    read_watchdog,
)
from emo_core.robot._section import Section
from emo_core.robot.sim.description import Simulator, read_simulator

__all__ = [
    "BUSES",
    "FAKE_PORT",
    "GROUPS",
    "WAYS",
    "BusDescription",
    "Dwell",
    "Interlock",
    "Motor",
    "Moves",
    "Protection",
    "RobotDescription",
    "Watchdog",
    "read_file",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RobotDescription:
    """A robot. Read one with `RobotDescription.load`."""

    name: str
    file: Path
    inverse_model: str
    servo_lag_s: float
    motors: tuple[Motor, ...]
    interlocks: tuple[Interlock, ...]
    dwell: Dwell
    watchdog: Watchdog
    bus: BusDescription
    simulator: Simulator | None
    protection: Protection = field(default_factory=Protection)

    @classmethod
    def load(cls, name_or_path: str | Path = DEFAULT_ROBOT) -> RobotDescription:
        """Read `config/robots/<name>.yaml`, or the file at a path.

        Raises:
            EmoError: no such robot, or a value that makes no sense; names file, key and remedy.
        """
        return _robot(read_file(name_or_path))

    @property
    def names(self) -> tuple[str, ...]:
        """Motor names, in the order of every command vector."""
        return tuple(motor.name for motor in self.motors)

    @property
    def neutral(self) -> Array:
        """(M,) neutral commands."""
        return np.array([motor.neutral for motor in self.motors])

    @property
    def lower(self) -> Array:
        """(M,) lowest allowed commands."""
        return np.array([motor.limits[0] for motor in self.motors])

    @property
    def upper(self) -> Array:
        """(M,) highest allowed commands."""
        return np.array([motor.limits[1] for motor in self.motors])

    @property
    def max_speed(self) -> Array:
        """(M,) strokes per second."""
        return np.array([motor.max_speed for motor in self.motors])

    @property
    def max_acceleration(self) -> Array:
        """(M,) strokes per second squared."""
        return np.array([motor.max_acceleration for motor in self.motors])

    def group(self, group: str) -> NDArray[np.intp]:
        """Indices of the motors of one group ("eye" or "mouth")."""
        return np.flatnonzero([motor.group == group for motor in self.motors])

    @property
    def expressive(self) -> NDArray[np.intp]:
        """Indices of the motors that make expressions: all but those of gaze."""
        return np.flatnonzero([not motor.gaze for motor in self.motors])

    def to_radians(self, positions: Array) -> Array:
        """(..., M) commands -> (..., M) joint angles in rad, for `sensor_msgs/JointState`."""
        low, high = np.array([motor.range_rad for motor in self.motors]).T
        return np.asarray(low + np.asarray(positions, dtype=np.float64) * (high - low))

    def to_commands(self, radians: Array) -> Array:
        """(..., M) joint angles in rad -> (..., M) commands: `to_radians` the other way round."""
        low, high = np.array([motor.range_rad for motor in self.motors]).T
        return np.asarray((np.asarray(radians, dtype=np.float64) - low) / (high - low))

    def signature(self) -> str:
        """Hash of what an inverse model depends on: the motors, in order, and their meaning."""
        parts = [f"{m.name} {m.group} {m.limits} {m.neutral} {m.range_rad}" for m in self.motors]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def read_file(name_or_path: str | Path) -> Section:
    """What `RobotDescription.load` reads, with what the file `extends` laid in; nothing checked.

    Raises:
        EmoError: no such robot, or no YAML.
    """
    return _read(_find(name_or_path))


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.parent != Path("."):
        if not path.is_file():
            raise EmoError(f"robot file {path}: not found. Check the path given to --robot")
        return path
    folder = config_dir() / "robots"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if path.name not in known:
        raise EmoError(
            f"robot '{name_or_path}': no {folder / path.name}.yaml. "
            f"Known robots: {', '.join(known) or 'none'}; a path to a .yaml file works too"
        )
    return folder / f"{path.name}.yaml"


def _read(file: Path, seen: tuple[Path, ...] = ()) -> Section:
    """The file, laid over the one that it `extends`, which must be a whole robot by itself.

    Mappings are laid over key by key and `motors` by name; other lists replace.
    """
    top = Section.read(file)
    if not top.has("extends"):
        return top
    path = file.parent / top.text("extends")
    if not path.is_file():
        raise top.error("extends", f"names {path}, not a file", "give a path beside this file")
    if path.resolve() in seen:
        raise top.error("extends", f"leads back to {path}", "remove the circle")
    base = _read(path, (*seen, file.resolve()))
    _robot(base)
    below, above = base.copy(), top.copy()
    del above["extends"]
    below["simulator"] = _absolute_mesh(below.get("simulator"), path.parent.resolve())
    if below["simulator"] is None:
        del below["simulator"]
    if isinstance(above.get("motors"), list):
        above["motors"] = _over(top, below["motors"], above["motors"])
    return Section(_laid(below, above), file)


def _absolute_mesh(simulator: Any, folder: Path) -> Any:
    if not simulator:
        return None
    skin = simulator["skin"]
    return {**simulator, "skin": {**skin, "mesh": str(folder / skin["mesh"])}}


def _over(top: Section, motors: Any, changes: list[Any]) -> list[Any]:
    """`motors` with the entries of `changes` laid over those of the same name."""
    known = {motor["name"]: dict(motor) for motor in motors}
    for entry in changes:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in known:
            raise top.error("motors", f"changes {name!r}", f"known: {', '.join(known)}")
        known[name] |= entry
    return list(known.values())


def _laid(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _laid(below.get(key), value) for key, value in above.items()}}


def _robot(top: Section) -> RobotDescription:
    top.integer("schema", 1, 1)
    name = top.text("name")
    motors = read_motors(top)
    robot = RobotDescription(
        name=name,
        file=top.file,
        inverse_model=top.text("inverse_model"),
        servo_lag_s=top.number("servo_lag_s", 0.0, 1.0),
        motors=motors,
        interlocks=read_interlocks(top, motors),
        dwell=read_dwell(top.section("dwell")),
        watchdog=read_watchdog(top.section("watchdog"), motors),
        bus=read_bus(top.section("bus")),
        simulator=_simulator(top, motors),
        protection=read_protection(top.section("protection"))
        if top.has("protection")
        else Protection(),
    )
    top.done()
    if robot.simulator is None and (robot.bus.kind == "sim" or robot.bus.port == FAKE_PORT):
        raise top.error("simulator", "is missing", "a robot without hardware needs it")
    return robot


def _simulator(top: Section, motors: tuple[Motor, ...]) -> Simulator | None:
    if not top.has("simulator"):
        return None
    return read_simulator(top.section("simulator"), tuple(motor.name for motor in motors))
