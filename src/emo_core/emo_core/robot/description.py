"""One robot, as its YAML file says: validated once, frozen, and passed to everything that moves.

Units: a motor command is a number in [0, 1] over the motor's stroke, so speeds are strokes per
second and accelerations strokes per second squared. Angles are radians, lengths millimetres,
times seconds. Nothing in the code knows how many motors a robot has or what they are called.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.paths import config_dir
from emo_core.robot import DEFAULT_ROBOT
from emo_core.robot._section import Section

GROUPS = ("eye", "mouth")
BUSES = ("sim",)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motor:
    """One motor: `limits` is the part of [0, 1] it may be sent, `range_rad` what that means."""

    name: str
    id: int
    group: str
    range_rad: tuple[float, float]
    limits: tuple[float, float]
    neutral: float
    max_speed: float
    max_acceleration: float


@dataclass(frozen=True)
class Interlock:
    """Motors that must not meet: `sum(weights * positions) <= maximum`, weights by motor index."""

    name: str
    weights: tuple[tuple[int, float], ...]
    maximum: float


@dataclass(frozen=True)
class Dwell:
    """Thermal limit: heat follows (distance from neutral / span)^2 with `time_constant_s`.

    From heat `soft` to heat `hard` the allowed distance shrinks from the whole span to `rest`
    of it. `rest ** 2 < hard`, so heat never passes `hard`.
    """

    time_constant_s: float
    soft: float
    hard: float
    rest: float


@dataclass(frozen=True)
class Watchdog:
    """No command for `timeout_s`: ease to neutral in `ease_s`."""

    timeout_s: float
    ease_s: float


@dataclass(frozen=True)
class ServoModel:
    """How the simulated servos move; the safety layer's limits are the motors' own."""

    max_speed: float
    max_acceleration: float
    dead_band: float
    transport_delay_s: float


@dataclass(frozen=True)
class Region:
    """Skin that one motor moves: weights at anchor landmarks, spread smoothly over `radius_mm`.

    The displacement at weight 1 is `low_mm` at command 0, zero at neutral, `high_mm` at
    command 1; `saturation` bends the way there (0 is straight).
    """

    motor: int
    anchors: tuple[tuple[int, float], ...]
    radius_mm: float
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    saturation: float


@dataclass(frozen=True)
class SkinModel:
    """The face: a mesh file beside the robot's YAML, and what each motor does to it."""

    mesh: Path
    reach_mm: float
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera in front of the face, which looks at the mesh's origin."""

    width: int
    height: int
    distance_mm: float
    focal_px: float


@dataclass(frozen=True)
class Simulator:
    """Everything that only the simulated robot needs."""

    servos: ServoModel
    skin: SkinModel
    camera: CameraModel


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
    bus: str
    simulator: Simulator | None

    @classmethod
    def load(cls, name_or_path: str | Path = DEFAULT_ROBOT) -> RobotDescription:
        """Read `config/robots/<name>.yaml`, or the file at a path.

        Raises:
            EmoError: no such robot, or a value that makes no sense; names file, key and remedy.
        """
        return _robot(Section.read(_find(name_or_path)))

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

    def to_radians(self, positions: Array) -> Array:
        """(..., M) commands -> (..., M) joint angles in rad, for `sensor_msgs/JointState`."""
        low, high = np.array([motor.range_rad for motor in self.motors]).T
        return np.asarray(low + np.asarray(positions, dtype=np.float64) * (high - low))

    def signature(self) -> str:
        """Hash of what an inverse model depends on: the motors, in order, and their meaning."""
        parts = [f"{m.name} {m.group} {m.limits} {m.neutral} {m.range_rad}" for m in self.motors]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


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


def _robot(top: Section) -> RobotDescription:
    top.integer("schema", 1, 1)
    name = top.text("name")
    motors = _motors(top)
    robot = RobotDescription(
        name=name,
        file=top.file,
        inverse_model=top.text("inverse_model"),
        servo_lag_s=top.number("servo_lag_s", 0.0, 1.0),
        motors=motors,
        interlocks=_interlocks(top, motors),
        dwell=_dwell(top.section("dwell")),
        watchdog=_watchdog(top.section("watchdog"), motors),
        bus=_bus(top.section("bus")),
        simulator=_simulator(top.section("simulator"), motors) if top.has("simulator") else None,
    )
    top.done()
    if robot.bus == "sim" and robot.simulator is None:
        raise top.error("simulator", "is missing", "bus.kind sim needs it")
    return robot


def _motors(top: Section) -> tuple[Motor, ...]:
    motors: list[Motor] = []
    for entry in top.sections("motors"):
        motor = Motor(
            name=entry.text("name"),
            id=entry.integer("id", 0, 253),
            group=entry.text("group", GROUPS),
            range_rad=entry.interval("range_rad", -6.3, 6.3),
            limits=entry.interval("limits", 0.0, 1.0),
            neutral=entry.number("neutral", 0.0, 1.0),
            max_speed=entry.number("max_speed", 0.1, 100.0),
            max_acceleration=entry.number("max_acceleration", 1.0, 10000.0),
        )
        entry.done()
        low, high = motor.limits
        if not low <= motor.neutral <= high:
            raise entry.error(
                "neutral",
                f"is {motor.neutral:g}, outside the limits",
                f"keep to {low:g}..{high:g}",
            )
        for other in motors:
            if other.name == motor.name:
                raise entry.error("name", f"is '{motor.name}' again", "give each its own name")
            if other.id == motor.id:
                raise entry.error(
                    "id", f"is {motor.id}, as of '{other.name}'", "give each motor its own id"
                )
        motors.append(motor)
    if not motors:
        raise top.error("motors", "is empty", "describe at least one motor")
    return tuple(motors)


def _interlocks(top: Section, motors: tuple[Motor, ...]) -> tuple[Interlock, ...]:
    index = {motor.name: i for i, motor in enumerate(motors)}
    interlocks = []
    for entry in top.sections("interlocks"):
        name = entry.text("name")
        weights = []
        for motor, weight in entry.number_table("weights").items():
            if motor not in index:
                raise entry.error("weights", f"names '{motor}'", f"known: {', '.join(index)}")
            weights.append((index[str(motor)], weight))
        interlock = Interlock(name, tuple(weights), entry.number("max"))
        entry.done()
        at_neutral = sum(weight * motors[i].neutral for i, weight in weights)
        if at_neutral > interlock.maximum:
            raise entry.error(
                "max", f"is below the neutral pose's {at_neutral:g}", "raise max or move neutral"
            )
        interlocks.append(interlock)
    return tuple(interlocks)


def _dwell(entry: Section) -> Dwell:
    dwell = Dwell(
        time_constant_s=entry.number("time_constant_s", 0.1, 3600.0),
        soft=entry.number("soft", 0.0, 1.0),
        hard=entry.number("hard", 0.0, 1.0),
        rest=entry.number("rest", 0.0, 1.0),
    )
    entry.done()
    if not dwell.soft < dwell.hard:
        raise entry.error("soft", f"{dwell.soft:g} is not below hard {dwell.hard:g}", "lower soft")
    if not dwell.rest**2 < dwell.hard:
        raise entry.error(
            "rest", f"{dwell.rest:g} would overheat", f"keep below {dwell.hard**0.5:.2g}"
        )
    return dwell


def _watchdog(entry: Section, motors: tuple[Motor, ...]) -> Watchdog:
    watchdog = Watchdog(entry.number("timeout_s", 0.02, 10.0), entry.number("ease_s", 0.05, 10.0))
    entry.done()
    for motor in motors:
        # The way home is a smoothstep over the stroke: peak speed 1.5 / T, acceleration 6 / T^2.
        need = max(1.5 / motor.max_speed, (6.0 / motor.max_acceleration) ** 0.5)
        if need > watchdog.ease_s:
            raise entry.error(
                "ease_s",
                f"{watchdog.ease_s:g} is too short for '{motor.name}'",
                f"give at least {need:.2f}, or raise that motor's max_speed or max_acceleration",
            )
    return watchdog


def _bus(entry: Section) -> str:
    kind = entry.text("kind", BUSES)
    entry.done()
    return kind


def _simulator(entry: Section, motors: tuple[Motor, ...]) -> Simulator:
    servos, camera, skin = (entry.section(key) for key in ("servos", "camera", "skin"))
    simulator = Simulator(
        servos=ServoModel(
            max_speed=servos.number("max_speed", 0.1, 1000.0),
            max_acceleration=servos.number("max_acceleration", 1.0, 100000.0),
            dead_band=servos.number("dead_band", 0.0, 0.2),
            transport_delay_s=servos.number("transport_delay_s", 0.0, 0.5),
        ),
        skin=_skin(skin, motors),
        camera=CameraModel(
            width=camera.integer("width", 64, 4096),
            height=camera.integer("height", 64, 4096),
            distance_mm=camera.number("distance_mm", 250.0, 5000.0),
            focal_px=camera.number("focal_px", 10.0, 50000.0),
        ),
    )
    for section in (servos, camera, entry):
        section.done()
    return simulator


def _skin(entry: Section, motors: tuple[Motor, ...]) -> SkinModel:
    mesh = entry.file.parent / entry.text("mesh")
    if not mesh.is_file():
        raise entry.error("mesh", f"names {mesh}, not a file", "put it beside the YAML")
    names = tuple(motor.name for motor in motors)
    skin = SkinModel(
        mesh=mesh,
        reach_mm=entry.number("reach_mm", 1.0, 1000.0),
        regions=tuple(_region(region, names) for region in entry.sections("regions")),
    )
    entry.done()
    return skin


def _region(entry: Section, names: tuple[str, ...]) -> Region:
    anchors = []
    for landmark, weight in entry.number_table("anchors").items():
        if not isinstance(landmark, int) or not 0 <= landmark < NUM_LANDMARKS:
            raise entry.error("anchors", f"names {landmark!r}", "give FaceMesh points, 0..477")
        anchors.append((landmark, weight))
    low = entry.numbers("low_mm", 3, -100.0, 100.0)
    high = entry.numbers("high_mm", 3, -100.0, 100.0)
    region = Region(
        motor=names.index(entry.text("motor", names)),
        anchors=tuple(anchors),
        radius_mm=entry.number("radius_mm", 0.1, 500.0),
        low_mm=(low[0], low[1], low[2]),
        high_mm=(high[0], high[1], high[2]),
        saturation=entry.number("saturation", 0.0, 10.0),
    )
    entry.done()
    return region
