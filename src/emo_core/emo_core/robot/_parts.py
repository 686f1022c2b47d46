"""The parts of a robot's description, and how each is read from its section of the file.

Readers raise `EmoError` for a value that makes no sense; it names file, key and remedy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from emo_core.face.topology import NUM_LANDMARKS
from emo_core.robot._section import Section

GROUPS = ("eye", "mouth")
#: Servo buses that can be asked for; `emo_core.robot.bus.make_bus` makes them.
BUSES = ("sim", "lx", "maestro", "dynamixel", "feetech", "pca9685", "ros")
#: As a bus's `port`: servos that exist in memory, behind the real protocol.
FAKE_PORT = "fake"
#: Angles of the eyeballs: motors that the inverse model never drives.
GAZE_AXES = ("yaw", "pitch")
#: Ways in the picture, in the metric frame's axes.
WAYS = {"up": (0.0, 1.0), "down": (0.0, -1.0), "left": (-1.0, 0.0), "right": (1.0, 0.0)}
_TOPIC = re.compile(r"/?[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Moves:
    """What a rising command does in the camera's picture: a FaceMesh point goes one of `WAYS`."""

    point: int
    way: str


@dataclass(frozen=True)
class Motor:
    """One motor.

    Attributes:
        id: on the bus (servo id, or channel).
        group: "eye" or "mouth".
        range_rad: joint angles at command 0 and 1.
        limits: the part of [0, 1] it may be sent.
        raw: what the servo is told at command 0 and 1, in its own units (counts, or microseconds
            of pulse); the first is the larger one where it turns the other way. None: the bus's
            whole range.
        latency_s: from a write to its motion, as calibrated; only differences matter.
        gaze: "yaw" or "pitch" of an eyeball, which follows gaze and never the inverse model; ""
            for all others.
        moves: its direction, which `./emo calibrate` checks; None: not said.
    """

    name: str
    id: int
    group: str
    range_rad: tuple[float, float]
    limits: tuple[float, float]
    neutral: float
    max_speed: float
    max_acceleration: float
    raw: tuple[float, float] | None = None
    latency_s: float = 0.0
    gaze: str = ""
    moves: Moves | None = None


@dataclass(frozen=True)
class BusDescription:
    """The line to the servos.

    Attributes:
        kind: one of `BUSES`.
        port: serial device, I2C bus, prefix of ROS topics, or `FAKE_PORT`; empty for "sim".
        baud: bits per second; 0: the usual one of this kind.
    """

    kind: str
    port: str = ""
    baud: int = 0

    @property
    def in_process(self) -> bool:
        """Whether the servos exist in the process of their driver alone."""
        return self.kind == "sim" or self.port == FAKE_PORT

    @property
    def is_device(self) -> bool:
        """Whether the port is a device of this machine, which one process may own."""
        return self.kind != "ros" and not self.in_process


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
class Protection:
    """When a motor is rested for its own sake. The defaults serve where a file says nothing.

    Attributes:
        temperature_c: (works again at or below, rests at or above), of the servo.
        voltage_v: (rests below, works again above), of the supply at the servo; (0, 0): unwatched.
        stall: this share of its stroke away from where it was sent, without moving...
        stall_s: ... for so long, is a stall.
        rest_s: a rest's least length, from when the motor has eased to neutral; doubled where it
            soon needs another.
    """

    temperature_c: tuple[float, float] = (60.0, 70.0)
    voltage_v: tuple[float, float] = (0.0, 0.0)
    stall: float = 0.15
    stall_s: float = 1.5
    rest_s: float = 4.0


def read_motors(top: Section) -> tuple[Motor, ...]:
    """`motors`: at least one, each with a name and an id of its own."""
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
            raw=_raw(entry) if entry.has("raw") else None,
            latency_s=entry.number("latency_s", 0.0, 1.0) if entry.has("latency_s") else 0.0,
            gaze=entry.text("gaze", GAZE_AXES) if entry.has("gaze") else "",
            moves=_moves(entry.section("moves")) if entry.has("moves") else None,
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


def _raw(entry: Section) -> tuple[float, float]:
    first, second = entry.numbers("raw", 2, -1e6, 1e6)
    if first == second:
        raise entry.error("raw", f"is {first:g} at both ends", "give two numbers that differ")
    return first, second


def _moves(entry: Section) -> Moves:
    moves = Moves(entry.integer("point", 0, NUM_LANDMARKS - 1), entry.text("way", tuple(WAYS)))
    entry.done()
    return moves


def read_interlocks(top: Section, motors: tuple[Motor, ...]) -> tuple[Interlock, ...]:
    """`interlocks`, which hold in the neutral pose."""
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


def read_dwell(entry: Section) -> Dwell:
    """`dwell`, whose rest does not overheat."""
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


def read_watchdog(entry: Section, motors: tuple[Motor, ...]) -> Watchdog:
    """`watchdog`, whose way home no motor is too slow for."""
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


def read_protection(entry: Section) -> Protection:
    """`protection`, which may leave keys out."""
    usual = Protection()

    def interval(key: str, high: float) -> tuple[float, float]:
        given: tuple[float, float] = getattr(usual, key)
        return entry.interval(key, 0.0, high) if entry.has(key) else given

    def number(key: str, low: float, high: float) -> float:
        given: float = getattr(usual, key)
        return entry.number(key, low, high) if entry.has(key) else given

    protection = Protection(
        temperature_c=interval("temperature_c", 150.0),
        voltage_v=interval("voltage_v", 60.0),
        stall=number("stall", 0.01, 1.0),
        stall_s=number("stall_s", 0.1, 60.0),
        rest_s=number("rest_s", 0.1, 600.0),
    )
    entry.done()
    return protection


def read_bus(entry: Section) -> BusDescription:
    """`bus`, of a known kind; all but simulated servos have a port."""
    kind = entry.text("kind", BUSES)
    if kind != "sim" and not entry.has("port"):
        raise entry.error("port", "is missing", f"give the device file, or '{FAKE_PORT}'")
    bus = BusDescription(
        kind=kind,
        port=entry.text("port") if entry.has("port") else "",
        baud=entry.integer("baud", 1200, 10_000_000) if entry.has("baud") else 0,
    )
    if bus.kind == "ros" and not _TOPIC.fullmatch(bus.port):
        raise entry.error("port", f"is '{bus.port}'", "give a prefix of ROS topics, like 'robot'")
    entry.done()
    return bus
