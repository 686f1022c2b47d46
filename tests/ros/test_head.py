"""The servos' owner on a spy: when it writes, reads and waits, what it does about trouble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from waiting import until

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, Telemetry, make_bus
from emo_core.robot.description import BusDescription, Protection, RobotDescription
from emo_core.robot.safety import Reason
from emo_motor_drivers.care import SILENCE
from emo_motor_drivers.claim import Claim
from emo_motor_drivers.head import FIRST_DELAY_S, STEP_S, Head, Written
from emo_motor_drivers.share import Share

#: On a machine that does other things as well.
SLACK_S = 0.05


class SpyBus(ServoBus):
    """A bus that keeps what happens to it; its servos are where they were told to be.

    Attributes:
        fails: raised by whatever is called next, until it is None again.
        held: motors that something holds where they are.
        silent: motors that do not answer.
    """

    def __init__(self, description: RobotDescription, start: np.ndarray | None = None) -> None:
        super().__init__(description)
        self.log: list[str] = []
        self.times: dict[str, list[float]] = {}
        count = len(description.motors)
        self.on = np.zeros(count, dtype=bool)
        self.x = (description.neutral if start is None else start).copy()
        self.fails: Exception | None = None
        self.held: set[int] = set()
        self.silent: set[int] = set()
        self.told = [Telemetry(35.0, 7.4) for _ in range(count)]
        self.busy = threading.Lock()

    def _note(self, what: str) -> None:
        assert self.busy.acquire(blocking=False), "used by two threads at once"
        try:
            self.log.append(what)
            self.times.setdefault(what.split()[0], []).append(time.monotonic())
            if what.startswith("read"):
                time.sleep(self.read_s)
            if self.fails is not None and what != "close":
                raise self.fails
        finally:
            self.busy.release()

    def open(self) -> None:
        self._note("open")

    def close(self) -> None:
        self._note("close")

    def torque(self, on, motors=None):
        which = slice(None) if motors is None else list(motors)
        self._note(f"torque {'on' if on else 'off'}" + ("" if motors is None else f" {which}"))
        self.on[which] = on

    def write(self, positions: Any) -> np.ndarray:
        assert self.on.any(), "written without torque"
        self._note("write")
        moved = self.on.copy()
        moved[list(self.held)] = False
        self.x = np.where(moved, np.asarray(positions, np.float64), self.x)
        return np.where(self.on, positions, np.nan)

    def read(self, motors=None) -> np.ndarray:
        self._note("read")
        out = np.full(len(self.x), np.nan)
        for motor in range(len(self.x)) if motors is None else motors:
            if motor not in self.silent:
                out[motor] = self.x[motor]
        return out

    def telemetry(self, motor: int) -> Telemetry:
        self._note("telemetry")
        return self.told[motor]

    def arm_watchdog(self, timeout_s: float) -> bool:
        self._note(f"watchdog {timeout_s:g}")
        return True


@pytest.fixture
def robot() -> RobotDescription:
    quick = Protection(stall_s=0.3, rest_s=0.5)
    return replace(RobotDescription.load("sim"), protection=quick, interlocks=())


Start = Callable[..., Head]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(robot, bus)`: an active head, closed after the test."""
    heads: list[Head] = []

    def begin(robot: RobotDescription, bus: ServoBus) -> Head:
        head = Head(robot, bus)
        heads.append(head)
        for group in ("eye", "mouth"):
            head.open(group)
            head.activate(group)
        return head

    yield begin
    for head in heads:
        for group in ("eye", "mouth"):
            head.close(group)


def everything(robot: RobotDescription, value: float) -> dict[str, float]:
    return dict.fromkeys(robot.names, value)


# -- life ------------------------------------------------------------------------------------


def test_no_torque_before_activate_and_neutral_before_torque_goes_off(
    robot: RobotDescription,
) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    assert head.command(dict.fromkeys(robot.names, 0.9)) is None
    assert bus.log == ["open"]
    head.activate("mouth")
    for _ in range(20):
        head.command(dict.fromkeys(robot.names, 0.9))
        time.sleep(0.01)
    away = np.abs(bus.x - robot.neutral)
    assert away[robot.group("mouth")].max() > 0.02
    assert away[robot.group("eye")].max() < 1e-9  # that driver is not active
    head.deactivate("mouth")
    assert not bus.on.any()
    assert bus.log[-1] == "torque off"
    np.testing.assert_allclose(bus.x, robot.neutral, atol=0.01)
    head.close("mouth")
    assert bus.log[-1] == "close"


def test_after_a_crash_the_servos_are_taken_up_from_where_they_are(
    robot: RobotDescription,
) -> None:
    start = np.clip(robot.neutral + 0.3, robot.lower, robot.upper)
    bus = SpyBus(robot, start)
    writes: list[Written | None] = []
    head = Head(robot, bus)
    head.listeners.append(writes.append)
    head.open("eye")
    head.open("mouth")
    head.activate("eye")
    head.activate("mouth")
    time.sleep(0.1)
    written = [write.positions for write in writes if write is not None]
    assert np.abs(written[0] - start).max() < 0.01
    steps = np.diff(written, axis=0)
    assert np.abs(steps).max() < 0.05  # it does not leap
    head.close("eye")
    assert bus.on.all()  # the mouth's driver is still there
    head.close("mouth")
    assert bus.log[-2:] == ["torque off", "close"]


def test_estop_stops_everything_until_it_is_released(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    head.activate("mouth")
    head.command(dict.fromkeys(robot.names, 0.9))
    head.estop()
    time.sleep(0.4)
    assert not bus.on.any()
    assert head.command(dict.fromkeys(robot.names, 0.1)) is None
    assert head.estopped
    head.release()
    assert bus.on.all()
    head.close("mouth")


def test_without_commands_the_face_eases_to_neutral_by_itself(robot: RobotDescription) -> None:
    bus = SpyBus(robot, np.clip(robot.neutral + 0.3, robot.lower, robot.upper))
    head = Head(robot, bus)
    head.open("eye")
    head.activate("eye")
    time.sleep(robot.watchdog.timeout_s + robot.watchdog.ease_s + 1.2)
    np.testing.assert_allclose(bus.x, robot.neutral, atol=0.01)
    head.close("eye")


def test_a_bus_that_is_gone_at_the_end_is_reported(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    head.activate("mouth")
    bus.torque = Mock(side_effect=OSError("unplugged"))  # type: ignore
    head.close("mouth")
    assert (head.fault, head.torque_on, bus.log[-1]) == ("unplugged", False, "close")
    assert not head.limp, "./emo stop looks after them"


def test_one_command_for_two_drivers_is_written_once(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("eye")
    head.open("mouth")
    head.activate("eye")
    head.activate("mouth")
    positions = dict.fromkeys(robot.names, 0.5)
    assert head.command(positions, ("lipsync", 1)) is head.command(positions, ("lipsync", 1))
    assert head.command(positions, ("lipsync", 2)) is not head.command(positions, ("lipsync", 3))
    head.close("eye")
    head.close("mouth")


def test_the_simulated_robot_moves(robot: RobotDescription) -> None:
    head = Head(robot, make_bus(robot))
    head.open("mouth")
    head.activate("mouth")
    goal = dict.fromkeys(robot.names, 0.6)
    for _ in range(60):
        head.command(goal)
        time.sleep(0.02)
    mouth = robot.group("mouth")
    np.testing.assert_allclose(head.measured()[0][mouth], 0.6, atol=0.03)
    head.close("mouth")


def test_the_servos_own_watchdog_is_armed_before_torque(robot, start: Start) -> None:
    bus = SpyBus(robot)
    head = start(robot, bus)
    limit = f"watchdog {2 * robot.watchdog.timeout_s:g}"
    assert bus.log[:4] == ["open", limit, "read", "torque on"]
    assert head.own_watchdog == "0.5 s"


@pytest.fixture
def wired(tmp_path, robot: RobotDescription) -> RobotDescription:
    """The robot on a port of its own."""
    return replace(robot, bus=BusDescription("lx", str(tmp_path / "port")))


def test_a_port_has_one_owner_and_remembers_what_was_sent(wired: RobotDescription) -> None:
    first = Claim(wired)
    assert np.isnan(first.positions).all()
    first.positions[:] = wired.upper
    with pytest.raises(EmoError, match=r"bus\.port .* is driven by another process"):
        Claim(wired)
    first.release()
    second = Claim(wired)
    np.testing.assert_array_equal(second.positions, wired.upper)
    second.release()
    fewer = Claim(replace(wired, motors=wired.motors[:-1]))
    assert np.isnan(fewer.positions).all() and len(fewer.positions) == len(wired.motors) - 1
    fewer.release()


def test_a_new_process_goes_on_where_the_killed_one_stopped(wired, start: Start) -> None:
    killed = Claim(wired)
    killed.positions[:] = where = np.clip(wired.neutral + 0.3, wired.lower, wired.upper)
    killed.release()
    bus = SpyBus(wired, wired.lower)
    bus.tells_position, bus.silent = False, set(range(len(wired.motors)))
    start(wired, bus)
    until(lambda: "write" in bus.log)
    np.testing.assert_allclose(bus.x, where, atol=0.02)


def test_a_thread_that_breaks_down_is_no_secret(robot, start: Start) -> None:
    bus = SpyBus(robot)
    head = start(robot, bus)
    threading.excepthook, hook = lambda args: None, threading.excepthook
    try:
        bus.write = Mock(side_effect=ZeroDivisionError)  # type: ignore
        until(lambda: head.fault)
    finally:
        threading.excepthook = hook
    with pytest.raises(RuntimeError, match="broke down"):
        head.command(everything(robot, 0.5))
    with pytest.raises(EmoError, match="broke down"):
        head.estop()  # nobody would brake: ./emo stop ends the process


# -- a line that takes its time --------------------------------------------------------------


@pytest.mark.parametrize(("write_s", "period_s"), [(0.0, STEP_S), (0.002, STEP_S), (0.01, 0.02)])
def test_steps_follow_at_the_lines_own_rate(robot, start: Start, write_s, period_s) -> None:
    bus = SpyBus(robot)
    bus.write_s = write_s
    head = start(robot, bus)
    time.sleep(0.6)
    gaps = np.diff(bus.times["write"])
    assert head._pace.period_s == pytest.approx(period_s)
    # Never sooner, but where one came late; later only as far as this machine is busy.
    assert np.percentile(gaps, 25) > 0.9 * period_s
    assert np.median(gaps) < 1.5 * period_s


def test_a_command_never_waits_for_more_than_one_servos_answer(robot, start: Start) -> None:
    bus = SpyBus(robot)
    bus.read_s, bus.write_s = 0.008, 0.02  # half of a step's 40 ms is for reading
    head = start(robot, bus)
    until(lambda: np.isfinite(head.measured()[0]).all())
    waits = []
    for _ in range(60):
        time.sleep(0.047)
        began = time.monotonic()
        head.command(everything(robot, 0.5))
        waits.append(time.monotonic() - began)
    assert bus.log.count("read") > 30  # the line was busy reading
    assert np.median(waits) < bus.read_s + 0.002
    assert max(waits) < bus.read_s + SLACK_S


def test_every_servo_of_a_slow_line_is_read_in_turn(robot, start: Start) -> None:
    bus = SpyBus(robot)
    bus.read_s, bus.write_s = 0.002, 0.009
    head = start(robot, bus)
    time.sleep(1.0)
    _, times = head.measured()
    assert time.monotonic() - times.min() < 0.6
    reads, writes = bus.log.count("read"), bus.log.count("write")
    assert 0.5 <= reads / writes <= 5.0
    assert bus.log.count("telemetry") in range(5, 14)  # every servo once a second


# -- trouble with the line -------------------------------------------------------------------


def test_an_unplugged_line_is_reported_at_once_and_opened_again(robot, start: Start) -> None:
    bus = SpyBus(robot)
    head = start(robot, bus)
    heard: list[str] = []
    head.listeners.append(lambda written: heard.append(head.fault))
    for _ in range(30):
        head.command(everything(robot, 0.7))
        time.sleep(0.01)
    bus.fails = BusError("unplugged")
    before = len(bus.log)
    until(lambda: head.fault == "unplugged", 3 * STEP_S + SLACK_S)
    assert not head.torque_on
    assert head.command(everything(robot, 0.1)) is None
    until(lambda: "unplugged" in heard, SLACK_S)
    time.sleep(FIRST_DELAY_S * 7.5)  # tries after 1, 3 and 7 delays
    assert [what for what in bus.log[before:] if what == "open"] == ["open"] * 3
    standing = np.clip(bus.x + 0.1, robot.lower, robot.upper)
    bus.x, bus.fails = standing.copy(), None
    before = len(bus.log)
    until(lambda: head.torque_on, 3.0)
    assert [w.split()[0] for w in bus.log[before : before + 5]] == [
        "close", "open", "watchdog", "read", "torque",
    ]  # fmt: skip
    positions = []
    for _ in range(20):
        written = head.command(everything(robot, 0.1))
        positions.append(written.positions)
        time.sleep(0.01)
    assert np.all(np.abs(positions[0] - standing) < 0.02)  # from where they are
    assert np.all(written.reasons & Reason.SOFT_START)  # and gently
    assert np.abs(np.diff(positions, axis=0)).max() < 0.25  # no leap to 0.1, 0.7 away
    assert head.fault == ""
    assert head.news.popleft() == "servo line lost: unplugged. Trying again"
    assert "taken up" in head.news.popleft()


def test_whether_servos_of_a_lost_line_have_torque_is_not_known(robot, start: Start) -> None:
    bus = SpyBus(robot)
    head = start(robot, bus)

    def told() -> set[str]:
        return {Share(head, group).state()["torque"] for group in ("eye", "mouth")}

    assert told() == {"on"}
    bus.fails = BusError("unplugged")
    until(lambda: head.fault)
    assert told() == {"not known"} and bus.on.all()
    bus.fails = None
    until(lambda: head.torque_on)
    assert told() == {"on"}
    head.estop()
    until(lambda: head.limp)
    assert told() == {"off"}
    bus.fails = BusError("unplugged")
    until(lambda: head.fault)
    assert told() == {"off"}, "they were let go before"


def test_servos_that_cannot_tell_go_on_from_what_was_sent_last(robot, start: Start) -> None:
    bus = SpyBus(robot)
    bus.tells_position, bus.silent = False, set(range(len(robot.motors)))
    head = start(robot, bus)
    for _ in range(30):
        last = head.command(everything(robot, 0.7))
        time.sleep(0.01)
    positions, _ = head.measured()
    np.testing.assert_array_equal(positions, last.positions)
    bus.fails = OSError("Input/output error")
    until(lambda: head.fault)
    at_loss = bus.x.copy()
    bus.fails = None
    until(lambda: not head.fault)
    written = head.command(everything(robot, 0.7))
    np.testing.assert_allclose(written.positions, at_loss, atol=0.02)


def test_servos_without_supply_are_a_lost_line(robot, start: Start) -> None:
    bus = SpyBus(robot)
    bus.read_s = 1e-4
    head = start(robot, bus)
    bus.silent = set(range(len(robot.motors)))
    until(lambda: head.fault == SILENCE)
    time.sleep(0.5)
    assert head.fault == SILENCE and not head.torque_on
    bus.silent.clear()
    bus.x = robot.lower.copy()
    until(lambda: head.torque_on)
    written = head.command({})
    np.testing.assert_allclose(written.positions, robot.lower, atol=0.02)
    until(lambda: not head.care.rested, 2.0)


def test_an_estop_holds_over_a_lost_line(robot, start: Start) -> None:
    bus = SpyBus(robot)
    head = start(robot, bus)
    bus.fails = BusError("unplugged")
    until(lambda: head.fault)
    head.estop()
    assert head.lost and not head.limp, "nobody could tell the servos"
    with pytest.raises(BusError, match="unplugged"):
        head.release()
    bus.fails = None
    before = len(bus.log)
    until(lambda: head.limp and not head.lost)
    time.sleep(0.1)
    assert head.estopped and "torque off" in bus.log[before:]
    assert "torque on" not in bus.log[before:] and "write" not in bus.log[before:]
    head.release()
    assert head.torque_on


def test_an_estop_under_load_stops_in_braking_time(robot, start: Start) -> None:
    bus = SpyBus(robot)
    bus.read_s, bus.write_s = 0.003, 0.005
    head = start(robot, bus)
    over = threading.Event()

    def hammer(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not over.is_set():
            head.command(dict(zip(robot.names, rng.random(len(robot.names)), strict=True)))
            time.sleep(0.002)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    head.estop()
    assert time.monotonic() - began < 0.05 + SLACK_S
    until(lambda: not bus.on.any(), 0.5)
    stopped, count = bus.x.copy(), len(bus.times["write"])
    time.sleep(0.2)
    over.set()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(bus.x, stopped)
    assert len(bus.times["write"]) == count


# -- trouble with one motor ------------------------------------------------------------------


def _drive(head: Head, robot: RobotDescription, seconds: float) -> np.ndarray:
    """Commands at 25 Hz that swing about the middle; what was sent."""
    path = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        written = head.command(everything(robot, 0.5 + 0.4 * np.sin(6.0 * time.monotonic())))
        path.append(written.positions)
        time.sleep(0.04)
    return np.array(path)


@pytest.mark.parametrize("read_s", [0.0, 1e-3])
@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (Telemetry(temperature_c=71.0), "71 °C"),
        (Telemetry(fault="overload"), "overload"),
        ("stuck", "stalled"),
        ("silent", "does not answer"),
    ],
)
def test_a_motor_in_trouble_rests_and_the_others_go_on(
    robot, start: Start, trouble, why: str, read_s: float
) -> None:
    bus = SpyBus(robot)
    bus.read_s = read_s
    head = start(robot, bus)
    jaw = len(robot.motors) - 1
    if trouble == "stuck":
        bus.held.add(jaw)
    elif trouble == "silent":
        bus.silent.add(jaw)
    else:
        bus.told[jaw] = trouble
    ends = time.monotonic() + 4.0
    while jaw not in head.care.rested and time.monotonic() < ends:
        _drive(head, robot, 0.1)
    assert head.care.rested == {jaw: why}
    bus.held.clear()
    path = _drive(head, robot, robot.watchdog.ease_s + 0.15)
    until(lambda: head.care.limp == {jaw} and f"torque off [{jaw}]" in bus.log)
    assert np.ptp(path[:, :-1], axis=0).min() > 0.3
    bus.told[jaw] = Telemetry(temperature_c=50.0)
    bus.silent.clear()
    ends = time.monotonic() + 4.0
    while head.care.rested and time.monotonic() < ends:
        _drive(head, robot, 0.1)
    assert not head.care.rested and bus.on.all()
    names = [line.split(":")[0].split()[0] for line in head.news]
    assert names == ["jaw", "jaw"] and "works again" in head.news[-1]


def test_a_servo_that_did_not_take_torque_is_told_again(robot, start: Start) -> None:
    bus = SpyBus(robot)
    deaf, torque = {3}, bus.torque

    def half_heard(on, motors=None):
        torque(on, motors)
        bus.on[list(deaf)] = False

    bus.torque = half_heard  # type: ignore
    head = start(robot, bus)
    until(lambda: head.care.rested == {3: "torque is off"})
    path = _drive(head, robot, 0.7)
    assert np.ptp(np.delete(path, 3, axis=1), axis=0).min() > 0.2
    assert 1 <= bus.log.count("torque on [3]") <= 4  # now and then
    deaf.clear()
    before = bus.x[3]
    until(lambda: not head.care.rested)
    first = head.command(everything(robot, 0.5)).positions[3]
    assert abs(first - before) < 0.1  # from where it stands, 0.25 from where it is sent
