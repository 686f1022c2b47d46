"""A robot on its bus, before a camera: motions are played through the safety layer, and looked at.

One loop serves hardware, fakes and simulation: it goes from event to event (the next write, the
camera's next picture) on a clock that is either real or simulated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.alignment import to_metric
from emo_core.face.tracking import FaceTracker
from emo_core.robot.bus import ServoBus
from emo_core.robot.description import RobotDescription
from emo_core.robot.protection import TELEMETRY_S, Protector
from emo_core.robot.safety import HOMING_LIMIT_S, SafetyLayer

#: Period of the writes, where the bus is quick enough.
TICK_S = 0.01
#: Half of a bus's time at most goes into writing, as in live use.
_BUS_SHARE = 0.5
_WAIT_S = 0.001
#: A camera whose latency nobody knows is taken to be no later than this.
_LATE_S = 0.2
#: A servo whose motion is timed is asked where it is so often.
_ASK_S = 0.21

Array = NDArray[np.float64]
Image = NDArray[np.uint8]


class Clock(Protocol):
    """Monotonic seconds."""

    def now(self) -> float:
        """The time."""
        ...

    def sleep_until(self, when_s: float) -> None:
        """Return when it is that late; at once if it is already."""
        ...


class RealClock:
    """`time.monotonic`."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, when_s: float) -> None:
        time.sleep(max(0.0, when_s - time.monotonic()))


class SimulatedClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self._now_s = 1.0

    def now(self) -> float:
        return self._now_s

    def sleep_until(self, when_s: float) -> None:
        self._now_s = max(self._now_s, when_s)


@dataclass(frozen=True)
class Picture:
    """One exposure.

    Attributes:
        time_s: its middle, on the bench's clock.
        image: RGB (H, W, 3), made when it is asked for.
    """

    time_s: float
    image: Callable[[], Image]


class Camera(Protocol):
    """Looks at the robot."""

    @property
    def latency_s(self) -> float | None:
        """What `Picture.time_s` is late by, the same for all pictures; None: not known."""
        ...

    def next_s(self) -> float:
        """When the next picture is to be expected."""
        ...

    def poll(self, now_s: float) -> Picture | None:
        """The picture taken since the last call, if there is one.

        Raises:
            EmoError: it has given none for too long, and nobody shall wait for it any more.
        """
        ...


class Tracker(Protocol):
    """Sees faces, as `FaceTracker` does."""

    def track(self, rgb: Image) -> NDArray[np.float32] | None:
        """RGB (H, W, 3) -> screen landmarks (478, 3) in px, or None: no face."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


@dataclass(frozen=True)
class Take:
    """One motion and what was seen of it.

    Attributes:
        sent_s: (N,) when something was written.
        sent: (N, M) what.
        seen_s: (F,) when the pictures were taken in which FaceMesh found a face.
        faces: (F, 478, 2) metric mm.
        lost: pictures in which FaceMesh found no face.
        told_s: (K,) when the servo in question was asked where it is.
        told: (K,) what it said; NaN: no answer.
    """

    sent_s: Array
    sent: Array
    seen_s: Array
    faces: Array
    lost: int
    told_s: Array
    told: Array


class Bench:
    """Owner of bus and safety layer while it is entered. Leaving it, also by an interrupt or an
    error, brings the robot to neutral and takes its torque.

    Args:
        description: the robot; its own latencies are compensated while it plays.
        bus: its bus, not open.
        camera: before it.
        clock: of bus and camera.
        tracker: makes a tracker that looks at the pictures.
    """

    def __init__(
        self,
        description: RobotDescription,
        bus: ServoBus,
        camera: Camera,
        clock: Clock,
        tracker: Callable[[], Tracker] = FaceTracker,
    ) -> None:
        self.description = description
        self._bus = bus
        self._camera = camera
        self._clock = clock
        self._safety = SafetyLayer(description)
        self._protector = Protector(description)
        self._asked = self._located = -1  # the motors asked last how, and where, they are
        self._telemetry_due_s = -math.inf
        self._sent = description.neutral  # NaN: without torque
        self._tick_s = max(TICK_S, bus.write_s / _BUS_SHARE)
        self._make_tracker = tracker
        self._tracker: Tracker | None = None

    def __enter__(self) -> Bench:
        tracker = self._make_tracker()
        try:
            self._bus.open()
            try:
                self._bus.arm_watchdog(2 * self.description.watchdog.timeout_s)
                self._safety.reset(self._bus.read(), gentle=True)
                self._bus.torque(True)
                self._home()
            except BaseException:
                self._bus.__exit__(None, None, None)
                raise
        except BaseException:
            tracker.close()
            raise
        self._tracker = tracker
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._home()
        finally:
            try:
                self._bus.__exit__(kind, error, trace)
            finally:
                if self._tracker is not None:
                    self._tracker.close()

    def become(self, description: RobotDescription) -> None:
        """Go on with other limits, neutral pose or latencies of the same motors, from here."""
        self.description = description
        self._safety, start = SafetyLayer(description), self._safety.positions
        self._safety.reset(start, gentle=True)
        self._home()

    def play(self, goals: Callable[[float], Array], seconds: float, ask: int | None = None) -> Take:
        """Play one motion.

        Args:
            goals: seconds from the start -> (M,) commands.
            seconds: how long; the last goals are held while the pictures are looked at.
            ask: a motor that is asked where it is, if its bus can tell.

        Raises:
            EmoError: no pictures, or no face in most of them; a servo is too hot.
        """
        start = now = self._clock.now()
        while self._camera.poll(now) is not None:  # what was taken before
            continue
        pictures: list[Picture] = []
        sent_s, sent = [now], [self._safety.positions]
        told_s, told = [], []
        tick, question = start, start + _ASK_S
        while (now := self._clock.now()) < start + seconds:
            if (picture := self._camera.poll(now)) is not None:
                pictures.append(picture)
            if now >= tick:
                sent.append(self._write(goals(now - start)))
                sent_s.append(now)
                tick = max(tick + self._tick_s, now)
                if ask is not None and self._bus.tells_position and now >= question:
                    asked = self._clock.now()
                    told.append(self._bus.read([ask])[ask])
                    told_s.append((asked + self._clock.now()) / 2.0)
                    question += _ASK_S
                elif self._ask_how(now):
                    self._see_to_heat()
            self._clock.sleep_until(min(tick, max(self._camera.next_s(), now + _WAIT_S)))
        seen_s, faces = self._look(pictures, goals(seconds))
        return Take(
            sent_s=np.array(sent_s),
            sent=np.array(sent),
            seen_s=seen_s,
            faces=faces,
            lost=len(pictures) - len(seen_s),
            told_s=np.array(told_s),
            told=np.array(told),
        )

    @property
    def camera_latency_s(self) -> float | None:
        """What the camera's times are late by; None: not known, and then not allowed for."""
        return self._camera.latency_s

    def home(self) -> None:
        """Go to neutral, and return when the robot is there."""
        self._home()

    def pose(
        self, goal: Array, settle_s: float, looks: int, prepare: Callable[[Image], Image]
    ) -> tuple[Array, list[NDArray[np.float32] | None]]:
        """Take up one pose, come to rest, and be looked at.

        Args:
            goal: (M,) commands.
            settle_s: from the first write to the first look.
            looks: pictures that are looked at.
            prepare: what is done to each picture (RGB) before FaceMesh gets it.

        Returns:
            (M,) what was really sent, and for each look the face (478, 3) metric mm, or None.

        Raises:
            EmoError: the camera gives no pictures; a servo has no torque, or is in trouble.
        """
        assert self._tracker is not None, "enter the bench first"
        late = _LATE_S if self._camera.latency_s is None else self._camera.latency_s
        now = tick = self._clock.now()
        at_rest, sent = now + settle_s, self._safety.positions
        pictures: list[Picture] = []
        while len(pictures) < looks:
            now = self._clock.now()
            picture = self._camera.poll(now)
            if picture is not None and picture.time_s > at_rest + late:
                pictures.append(picture)
            if now >= tick:
                sent = self._write(goal)
                tick = max(tick + self._tick_s, now)
                # On its way a healthy servo, too, is behind its goal: only at rest it is asked.
                if not self._ask_how(now) and now >= at_rest:
                    self._ask_where(now)
                self._see_to_servos(now)
            self._clock.sleep_until(min(tick, max(self._camera.next_s(), now + _WAIT_S)))
        faces: list[NDArray[np.float32] | None] = []
        for picture in pictures:
            screen = self._tracker.track(prepare(picture.image()))
            self._clock.sleep_until(self._clock.now() + _WAIT_S)
            self._write(goal)
            faces.append(None if screen is None else to_metric(screen)[0])
        return sent, faces

    def _ask_how(self, now_s: float) -> bool:
        """The servo whose turn it is is asked how it is; False: none is due."""
        if now_s < self._telemetry_due_s:
            return False
        count = len(self.description.motors)
        self._telemetry_due_s = now_s + TELEMETRY_S / count
        self._asked = (self._asked + 1) % count
        self._protector.telemetry(self._asked, self._bus.telemetry(self._asked))
        return True

    def _ask_where(self, now_s: float) -> None:
        """The servo whose turn it is is asked where it is, if its bus can tell."""
        if not self._bus.tells_position:
            return
        motor = self._located = (self._located + 1) % len(self.description.motors)
        position = float(self._bus.read([motor])[motor])
        self._protector.position(motor, float(self._safety.positions[motor]), position, now_s)

    def _see_to_servos(self, now_s: float) -> None:
        """Nothing is to be learned from a servo in trouble.

        Raises:
            EmoError: one should rest, or has no torque.
        """
        ill = self._protector.resting(now_s)
        ill |= {int(n): "has no torque" for n in np.flatnonzero(~np.isfinite(self._sent))}
        if ill:
            raise self._trouble(ill, ": it goes on from here")

    def _see_to_heat(self) -> None:
        """A motion ends for heat only, which would harm the servo.

        One that is stuck, silent or without torque is what calibration has to find, and no reason
        to learn nothing of the others.

        Raises:
            EmoError: the servo that was asked last is too hot.
        """
        degrees = self._protector.told(self._asked).temperature_c
        if degrees >= self.description.protection.temperature_c[1]:
            raise self._trouble({self._asked: f"{degrees:.0f} °C"})

    def _trouble(self, ill: dict[int, str], more: str = "") -> EmoError:
        names = self.description.names
        said = ", ".join(f"{names[motor]} ({why})" for motor, why in sorted(ill.items()))
        return EmoError(
            f"robot '{self.description.name}': {said}: see to it, and give the same command "
            f"again{more}"
        )

    def _look(self, pictures: list[Picture], goal: Array) -> tuple[Array, Array]:
        """(F,) times and (F, 478, 2) metric faces; `goal` is sent on, as silence is a fault."""
        assert self._tracker is not None, "enter the bench first"
        times, faces = [], []
        for picture in pictures:
            screen = self._tracker.track(picture.image())
            self._clock.sleep_until(self._clock.now() + _WAIT_S)
            self._write(goal)
            if screen is not None:
                times.append(picture.time_s - (self._camera.latency_s or 0.0))
                faces.append(to_metric(screen)[0][:, :2].astype(np.float64))
        if len(times) < len(pictures) / 2 or not pictures:
            raise EmoError(
                f"FaceMesh sees a face in {len(times)} of {len(pictures)} pictures: the whole "
                "face must be in the camera's picture, lit from the front"
            )
        return np.array(times), np.array(faces)

    def _write(self, goal: Array | None) -> Array:
        sent = self._safety.step(goal, self._clock.now())
        self._sent = self._bus.write(sent.positions)
        return sent.positions

    def _home(self) -> None:
        self._safety.home()
        watchdog = self.description.watchdog
        give_up = self._clock.now() + watchdog.timeout_s + watchdog.ease_s + HOMING_LIMIT_S
        while self._clock.now() < give_up:
            self._write(None)
            if self._safety.at_neutral:
                return
            self._clock.sleep_until(self._clock.now() + self._tick_s)
