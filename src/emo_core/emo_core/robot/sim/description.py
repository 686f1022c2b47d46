"""What only a simulated robot has: the `simulator` section of its YAML file, validated and frozen.

Units as in emo_core.robot.description: strokes, millimetres, seconds, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emo_core.face.topology import NUM_LANDMARKS
from emo_core.robot._section import Section


@dataclass(frozen=True)
class ServoModel:
    """How the simulated servos move; the safety layer's limits are the motors' own.

    Attributes:
        delays_s: for each motor, from a command to the start of its motion.
        backlash: of gears and linkage, in strokes.
        hysteresis: share of the pull that the skin's friction holds back until the horn has
            turned round by `hysteresis_width` (strokes).
        ambient_c, rise_c, warming_s: temperature at rest, how much hotter a servo becomes that
            holds the skin at full stretch, and the time constant of that.
    """

    max_speed: float
    max_acceleration: float
    dead_band: float
    delays_s: tuple[float, ...]
    backlash: float
    hysteresis: float
    hysteresis_width: float
    ambient_c: float
    rise_c: float
    warming_s: float


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
    """A pinhole camera in front of the face, which looks at the mesh's origin.

    Attributes:
        noise: standard deviation of each pixel, grey levels.
        exposure: standard deviation of the logarithm of the picture's brightness.
        shutter_s: what moves while it is open is blurred.
        readout_s: from the picture's first row to its last: a rolling shutter.
        vibration_px, vibration_hz: the camera shakes; each row shows where it was just then.
        sway_hz: how fast head and camera sway against each other, and the exposure wanders.
        turn_deg: standard deviations of that sway: yaw, pitch, roll.
        shift_mm: right, up, towards the camera.
    """

    width: int
    height: int
    distance_mm: float
    focal_px: float
    noise: float
    exposure: float
    shutter_s: float
    readout_s: float
    vibration_px: float
    vibration_hz: float
    sway_hz: float
    turn_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Simulator:
    """Everything that only the simulated robot needs."""

    servos: ServoModel
    skin: SkinModel
    camera: CameraModel


def read_simulator(entry: Section, motors: tuple[str, ...]) -> Simulator:
    """The `simulator` section of a robot with these motors."""
    servos, camera, skin = (entry.section(key) for key in ("servos", "camera", "skin"))
    simulator = Simulator(
        servos=ServoModel(
            max_speed=servos.number("max_speed", 0.1, 1000.0),
            max_acceleration=servos.number("max_acceleration", 1.0, 100000.0),
            dead_band=servos.number("dead_band", 0.0, 0.2),
            delays_s=_delays(servos, motors),
            backlash=servos.number("backlash", 0.0, 0.2),
            hysteresis=servos.number("hysteresis", 0.0, 0.9),
            hysteresis_width=servos.number("hysteresis_width", 0.0, 0.5),
            ambient_c=servos.number("ambient_c", -40.0, 60.0),
            rise_c=servos.number("rise_c", 0.0, 200.0),
            warming_s=servos.number("warming_s", 1.0, 3600.0),
        ),
        skin=_skin(skin, motors),
        camera=CameraModel(
            width=camera.integer("width", 64, 4096),
            height=camera.integer("height", 64, 4096),
            distance_mm=camera.number("distance_mm", 250.0, 5000.0),
            focal_px=camera.number("focal_px", 10.0, 50000.0),
            noise=camera.number("noise", 0.0, 100.0),
            exposure=camera.number("exposure", 0.0, 1.0),
            shutter_s=camera.number("shutter_s", 0.0, 0.1),
            readout_s=camera.number("readout_s", 0.0, 0.1),
            vibration_px=camera.number("vibration_px", 0.0, 20.0),
            vibration_hz=camera.number("vibration_hz", 0.1, 200.0),
            sway_hz=camera.number("sway_hz", 0.01, 10.0),
            turn_deg=_triple(camera, "turn_deg", 0.0, 30.0),
            shift_mm=_triple(camera, "shift_mm", 0.0, 200.0),
        ),
    )
    for section in (servos, camera, entry):
        section.done()
    return simulator


def _delays(servos: Section, motors: tuple[str, ...]) -> tuple[float, ...]:
    entry = servos.section("delays_s")
    delays = tuple(entry.number(motor, 0.0, 0.5) for motor in motors)
    entry.done()
    return delays


def _skin(entry: Section, names: tuple[str, ...]) -> SkinModel:
    mesh = entry.file.parent / entry.text("mesh")
    if not mesh.is_file():
        raise entry.error("mesh", f"names {mesh}, not a file", "put it beside the YAML")
    skin = SkinModel(
        mesh=mesh,
        reach_mm=entry.number("reach_mm", 1.0, 1000.0),
        regions=tuple(_region(region, names) for region in entry.sections("regions")),
    )
    entry.done()
    return skin


def _region(entry: Section, names: tuple[str, ...]) -> Region:
    region = Region(
        motor=names.index(entry.text("motor", names)),
        anchors=_anchors(entry),
        radius_mm=entry.number("radius_mm", 0.1, 500.0),
        low_mm=_triple(entry, "low_mm", -100.0, 100.0),
        high_mm=_triple(entry, "high_mm", -100.0, 100.0),
        saturation=entry.number("saturation", 0.0, 10.0),
    )
    entry.done()
    return region


def _anchors(entry: Section) -> tuple[tuple[int, float], ...]:
    anchors = []
    for landmark, weight in entry.number_table("anchors").items():
        if not isinstance(landmark, int) or not 0 <= landmark < NUM_LANDMARKS:
            raise entry.error("anchors", f"names {landmark!r}", "give FaceMesh points, 0..477")
        anchors.append((landmark, weight))
    return tuple(anchors)


def _triple(entry: Section, key: str, low: float, high: float) -> tuple[float, float, float]:
    x, y, z = entry.numbers(key, 3, low, high)
    return x, y, z
