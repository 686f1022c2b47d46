"""`./emo stop` finds every driver of this machine, and says so only if all robots stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from waiting import until

from emo import ros_domain
from emo.cli import stop
from emo.cli._bench import real_bench
from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, fake_class, make_bus
from emo_core.robot.buses.fake import FakeLine, FakeServos
from emo_core.robot.description import BusDescription, RobotDescription
from emo_motor_drivers import last_resort
from emo_motor_drivers.claim import Claim
from emo_motor_drivers.claimed import Owner, Record, mark, marks, records
from emo_motor_drivers.door import Answer, Door, knock
from emo_motor_drivers.head import Head

ROOT = Path(__file__).resolve().parents[2]


# -- who counts as stopped -------------------------------------------------------------------


class Reply:
    def __init__(self, success: bool, message: str) -> None:
        self.success, self.message = success, message


def driver(domain: int, name: str, success: bool | None) -> Any:
    """A driver that did it, did not, or (None) does not answer."""
    answer: Future[Reply] = Future()
    if success is not None:
        answer.set_result(Reply(success, "all motors stopped" if success else "line is down"))
    return stop._Driver(domain, name, None, answer)


def test_one_driver_speaks_for_its_robot(capsys: pytest.CaptureFixture[str]) -> None:
    drivers = [driver(60, "/eye_driver", None), driver(60, "/mouth_driver", True)]
    for order in (drivers, drivers[::-1]):
        robots: dict[tuple[int, str], str] = {}
        stop._far(order, robots)
        assert robots == {(60, ""): ""}
    said = capsys.readouterr().out.splitlines()
    assert said == ["/mouth_driver in ROS domain 60: all motors stopped"] * 2


@pytest.mark.parametrize(
    ("success", "message"), [(None, "does not answer: cut the robot's power"), (False, "is down")]
)
def test_a_robot_that_did_not_stop_is_a_problem(success: bool | None, message: str) -> None:
    others = [driver(61, "/mouth_driver", True), driver(60, "/left/mouth_driver", True)]
    robots: dict[tuple[int, str], str] = {}
    stop._far([*others, driver(60, "/mouth_driver", success)], robots)
    assert message in robots.pop((60, ""))
    assert set(robots.values()) == {""}


def test_a_robot_that_did_it_directly_needs_no_answer_over_the_graph() -> None:
    answers = [Answer("sim", 60, "/left", True, "all motors stopped")]
    robots = stop._near(answers, set())
    stop._far([driver(60, "/left/mouth_driver", None), driver(60, "/eye_driver", None)], robots)
    assert robots[60, "/left"] == ""
    assert "does not answer" in robots[60, ""]


def test_a_driver_that_was_not_even_called_did_not_stop() -> None:
    robots: dict[tuple[int, str], str] = {}
    stop._far([stop._Driver(60, "/eye_driver", None)], robots)
    assert "does not answer" in robots[60, ""]


# -- the short way ---------------------------------------------------------------------------


def test_every_door_is_knocked_at_and_those_of_the_dead_are_taken_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    orders: list[tuple[str, bool]] = []

    def act(name: str, stop: bool) -> Answer:
        orders.append((name, stop))
        return Answer(name, 60, "", stop, "well")

    doors = [Door(partial(act, name)) for name in ("a", "b")]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "emo-0-estop-1-0.sock"))
    (tmp_path / "emo-0-estop-2-0.sock").mkdir()
    answers = list(knock(stop=True))
    assert [answer.robot for answer in answers if isinstance(answer, Answer)] == ["a", "b"]
    assert [answer.done for answer in knock(stop=False) if isinstance(answer, Answer)] == [
        False
    ] * 2
    assert sorted(orders[:2]) == [("a", True), ("b", True)]  # both at once
    assert sorted(orders[2:]) == [("a", False), ("b", False)]
    for door in doors:
        door.close()
    assert not [answer for answer in knock(stop=True) if isinstance(answer, Answer)]
    assert [path.name for path in tmp_path.iterdir()] == ["emo-0-estop-2-0.sock"]


def test_a_process_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hung = subprocess.Popen(
        [sys.executable, "-c", _DOOR], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        assert hung.stdout is not None and hung.stdout.readline() == b"there\n"
        hang(hung)
        (problem,) = stop._near(knock(stop=True), set()).values()
    finally:
        hung.kill()
        hung.communicate()
    assert problem.startswith(f"process {hung.pid}")
    assert problem.endswith("does not answer: cut the robot's power")


def hang(process: subprocess.Popen[Any]) -> None:
    """A process that does nothing any more, and ends for nobody who asks."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


_DOOR = """
import time
from emo_motor_drivers.door import Answer, Door
door = Door(lambda stop: Answer("a", 60, "", True, "well"))
print("there", flush=True)
time.sleep(60)
"""


def test_a_door_survives_callers_that_say_nothing_sensible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    door = Door(lambda stop: Answer("a", 60, "", True, "well"))
    (path,) = tmp_path.iterdir()
    for words in (b"", b"dance\n", b"x" * 1000):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(words)
    assert [type(answer) for answer in knock(stop=True)] == [Answer]
    door.close()


def test_running_domains_are_those_whose_locks_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ros_domain._lock(61).touch()  # left by one that is gone
    assert ros_domain.running_domains() == set()
    held = subprocess.Popen(
        [sys.executable, "-c", _HOLD, ros_domain._lock(60), ros_domain.graph_lock("5", "a/b")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert held.stdout is not None
    held.stdout.readline()
    assert ros_domain.running_domains() == {60, 5}
    held.communicate()
    assert ros_domain.running_domains() == set()


_HOLD = """
import fcntl, sys
files = [open(path, "a") for path in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


# -- on the graph ----------------------------------------------------------------------------


#: Nobody else's.
NOBODYS_DOMAIN = "101"


def emo_stop(
    folder: Path, *options: str, domain: str = NOBODYS_DOMAIN
) -> tuple[subprocess.CompletedProcess[str], float]:
    """`./emo stop` in a shell of another ROS domain, and how long it took.

    Its locks are those in `folder`: a robot that somebody else runs on this machine is left alone.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(folder),
        "ROS_DOMAIN_ID": domain,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from emo.cli import main; sys.exit(main())",
         "stop", *options],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done, time.monotonic() - began


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Any]:
    """The head of two drivers in this process, in a domain of their own that `tmp_path` tells."""
    rclpy = pytest.importorskip("rclpy", reason="ROS is not set up")
    pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built")
    from probing import spinning

    from emo_motor_drivers import drivers

    environment = dict(os.environ)
    os.environ.update(ros_domain.domain_environment(os.environ, None))
    rclpy.init(args=[])
    nodes = drivers.create_nodes(namespace="left")
    (door,) = Path(tempfile.gettempdir()).glob(f"emo-*-estop-{os.getpid()}-*.sock")
    (tmp_path / door.name).symlink_to(door)
    lock = tmp_path / ros_domain.graph_lock(os.environ["ROS_DOMAIN_ID"], "left").name
    with spinning(*nodes), lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield nodes[0]._head
    rclpy.try_shutdown()
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.ros
def test_a_shell_stops_and_releases_the_robot(head: Any, tmp_path: Path) -> None:
    until(lambda: head.torque_on)
    done, seconds = emo_stop(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    number = os.environ["ROS_DOMAIN_ID"]
    assert done.stdout == f"robot 'sim' in ROS domain {number}: all motors stopped\n"
    assert head.estopped
    assert seconds < 10.0  # 1 s on a machine that has nothing else to do
    until(lambda: not head.torque_on)
    assert head.command({"jaw": 1.0}) is None
    done, _ = emo_stop(tmp_path, "--release")
    assert done.returncode == 0 and "released" in done.stdout
    assert head.torque_on and not head.estopped


@pytest.mark.ros
def test_a_robot_of_another_machine_is_found_on_the_graph(head: Any, tmp_path: Path) -> None:
    for door in tmp_path.glob("*.sock"):
        door.unlink()
    for _ in range(3):  # discovery may take longer than we wait, on a machine that is overloaded
        done, _ = emo_stop(tmp_path)
        if done.returncode == 0:
            break
    assert "/left/" in done.stdout and "_driver" in done.stdout
    assert head.estopped


@pytest.mark.ros
def test_a_robot_whose_line_is_down_is_not_released(head: Any, tmp_path: Path) -> None:
    head.estop()
    with head._lock:
        head._lost(EmoError("unplugged"))
    head._delay_s = 60.0
    done, _ = emo_stop(tmp_path, "--release")
    assert done.returncode == 1
    assert "unplugged" in done.stderr and "Traceback" not in done.stderr
    assert head.estopped


@pytest.mark.ros
def test_without_a_driver_it_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS is not set up")
    done, seconds = emo_stop(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("emo: error: no motor driver in ROS domain 101:")
    assert seconds < 10.0


# -- by force --------------------------------------------------------------------------------

#: The drivers' own process, with commands that swing all motors for ever.
_DRIVERS = """
import math, sys, threading, time
import rclpy
from emo_motor_drivers import drivers
from emo_nodekit.running import Spinner, stop_event

rclpy.init(args=[])
stop = stop_event()
nodes = drivers.create_nodes(parameters={"robot": sys.argv[1]})
spinner = Spinner(nodes)
spinner.start()
head = nodes[0]._head
while not stop.wait(0.04):
    goal = 0.5 + 0.35 * math.sin(4.0 * time.monotonic())
    head.command(dict.fromkeys(head.description.names, goal))
    print(nodes[1]._kit.health.error, flush=True)
spinner.stop()
rclpy.try_shutdown()
"""
SLOWLY = [pytest.param(k, marks=pytest.mark.slow) for k in ("maestro", "dynamixel", "feetech")]


@dataclass
class Rig:
    """A robot on a line of this process, and the process that drives it."""

    line: FakeLine
    file: Path
    drivers: subprocess.Popen[str] | None = None
    said: str = ""  # the newest line of the drivers: what is wrong

    def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(self.file.parent),
        }
        self.drivers = subprocess.Popen(
            [sys.executable, "-c", _DRIVERS, str(self.file)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self.drivers,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said = line.strip()

    def torque(self) -> np.ndarray:
        with self.line.lock:
            return self.line.device.servos.on.copy()

    def where(self) -> np.ndarray:
        with self.line.lock:
            return self.line.device.servos.positions(time.monotonic())

    def moving(self) -> bool:
        before = self.where()
        time.sleep(0.1)
        return bool(np.abs(self.where() - before).max() > 0.05)


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    pytest.importorskip("rclpy", reason="ROS is not set up")
    pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built")
    shipped = RobotDescription.load(f"{request.param}_fake")
    file, port = tmp_path / "robot.yaml", tmp_path / "port"
    file.write_text(f"extends: {shipped.file}\nbus: {{port: {port}}}\n")
    with FakeLine(fake_class(request.param)(FakeServos(shipped)), port) as line:  # type: ignore
        made = Rig(line, file)
        yield made
        if made.drivers is not None:
            made.drivers.kill()
            made.drivers.wait()


@pytest.mark.ros
@pytest.mark.parametrize("rig", ["lx", *SLOWLY], indirect=True)
def test_drivers_that_hang_are_ended_and_the_servos_let_go(rig: Rig, tmp_path: Path) -> None:
    rig.start()
    until(lambda: rig.torque().all() and rig.moving(), 30.0)
    assert rig.drivers is not None
    hang(rig.drivers)
    done, _ = emo_stop(tmp_path, domain="")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"process {rig.drivers.pid}" in done.stdout and "killed" in done.stdout
    assert "torque off (confirmed for 11 motors)" in done.stdout
    assert rig.drivers.wait(1.0) == -signal.SIGKILL
    assert not rig.torque().any() and not rig.moving()
    # Whoever starts it again starts nothing, until the release.
    rig.start()
    until(lambda: "e-stop is set" in rig.said, 30.0)
    assert "did not answer" in rig.said and "--release" in rig.said
    assert not rig.torque().any() and not rig.moving()
    done, _ = emo_stop(tmp_path, "--release", domain="")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: rig.torque().all() and rig.moving())
    assert rig.said == ""


@pytest.fixture
def shell(
    emo: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`./emo stop` in this process, of a machine whose temporary folder is `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    return partial(emo, "stop")


def left_with_torque(rig: Rig) -> RobotDescription:
    """What drivers leave that were killed: servos that hold, a claim that nobody ended."""
    robot = RobotDescription.load(rig.file)
    claim = Claim(robot, Owner(60, "left"))
    bus = make_bus(robot)
    bus.open()
    hold(bus)
    bus.close()
    claim.release(limp=False)
    assert rig.torque().all()
    return robot


def hold(bus: ServoBus) -> None:
    """Torque on, of servos whose answers a busy machine may miss."""

    def holds() -> bool:
        bus.torque(True)
        bus.write(bus.description.neutral)
        return bool(np.all(bus.holds() == 1.0))

    until(holds)


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_servos_whose_drivers_were_killed_are_let_go(rig: Rig, shell: Callable[..., Any]) -> None:
    robot = left_with_torque(rig)
    for _ in range(2):  # as often as one likes
        assert shell().status == 0
        assert not rig.torque().any()
    claim = Claim(robot, Owner())
    assert "by ./emo stop" in claim.marked
    claim.release()
    done = shell("--release")
    assert done.status == 0 and "released" in done.out
    assert not Claim(robot).marked
    assert not records() and not marks()


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_a_shell_whose_domain_is_none_stops_the_others_all_the_same(
    rig: Rig, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_with_torque(rig)
    monkeypatch.setenv("ROS_DOMAIN_ID", "abc")
    assert "ROS_DOMAIN_ID is 'abc'" in shell().error_line
    assert not rig.torque().any()
    assert stop._environment(60)["ROS_DOMAIN_ID"] == "60"  # what runs there is found
    assert "ROS_DOMAIN_ID is 'abc'" in shell("--release").error_line
    assert not marks()


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_a_robot_that_nobody_is_known_to_drive_is_let_go_by_name(
    rig: Rig, shell: Callable[..., Any]
) -> None:
    left_with_torque(rig)
    records()[0].remove()
    done = shell("--robot", rig.file)
    assert done.status == 0 and "torque off (confirmed for 11 motors)" in done.out
    assert not rig.torque().any()
    claim = Claim(RobotDescription.load(rig.file), Owner(60, "left"))
    claim.release(limp=False)
    for name, said in (("sim", "servos are simulated"), ("none", "Known robots: ")):
        done = shell("--robot", name)
        assert said in done.error_line and "torque off (confirmed" in done.out, "the other is"


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_servos_that_cannot_be_let_go_are_an_error(rig: Rig, shell: Callable[..., Any]) -> None:
    robot = left_with_torque(rig)
    with rig.line.lock:
        rig.line.device.servos.silent.add(robot.names.index("jaw"))
    assert "torque off, but jaw did not answer" in shell().error_line
    rig.line.unplug()
    assert "is not there" in shell().error_line


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_servos_left_with_torque_are_known_until_somebody_lets_them_go(
    rig: Rig, shell: Callable[..., Any]
) -> None:
    """Also where those who came after the crash never reached them."""
    robot = left_with_torque(rig)
    rig.line.unplug()
    head = Head(robot, owner=Owner(60))
    with pytest.raises(EmoError):
        head.open("mouth")
    head.close("mouth")
    with pytest.raises(EmoError), real_bench(robot, "0"):
        raise AssertionError("the servos are not there")
    mark(records()[0].place, "for a test")
    with pytest.raises(EmoError, match="for a test"), real_bench(robot, "0"):
        raise AssertionError("it is stopped")
    rig.line.plug()
    assert rig.torque().all() and shell().status == 0
    assert not rig.torque().any()


@pytest.mark.parametrize("unplugged", [False, True])
def test_a_bench_that_cannot_let_go_leaves_it_to_the_estop(
    shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplugged: bool
) -> None:
    robot = replace(RobotDescription.load("sim"), bus=BusDescription("lx", str(tmp_path / "port")))

    @contextlib.contextmanager
    def bench(*_: Any) -> Iterator[None]:
        try:
            yield
        finally:
            if unplugged:
                raise BusError("torque stays on")

    monkeypatch.setattr("emo_core.camera.bench.camera_bench", bench)
    for error in (KeyboardInterrupt, None):
        with contextlib.suppress(KeyboardInterrupt, BusError), real_bench(robot, "0"):
            if error is not None:
                raise error
        assert bool(records()) is unplugged


@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_another_users_robot_is_asked_over_the_graph(
    rig: Rig, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's, say; its e-stop could not be released, had this user set it."""
    claim = Claim(RobotDescription.load(rig.file), Owner(7, "left"))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(Record, "holder", lambda self: None)  # as /proc has it
    monkeypatch.setattr(stop, "_enter_ros", lambda: None)
    asked: list[tuple[set[int], bool]] = []
    found = {}

    def search(numbers: set[int], stops: bool, robots: dict[tuple[int, str], str]) -> None:
        asked.append((numbers, stops))
        robots.update(found)

    monkeypatch.setattr(stop, "_search", search)
    assert "not to be seen from here" in shell().error_line, "the graph did not reach it, either"
    found[7, "left"] = ""
    assert shell().status == 0 and shell("--release").status == 0
    assert asked == [({7}, True), ({7}, True), ({7}, False)]
    assert not marks()
    claim.release()


@pytest.mark.parametrize("by_number", [False, True])
@pytest.mark.parametrize("rig", ["lx"], indirect=True)
def test_only_a_process_that_holds_the_claim_is_killed(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_number: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if by_number:  # a Python that was built on an old Linux
        monkeypatch.delattr(os, "pidfd_open")
    robot = RobotDescription.load(rig.file)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        record = Record.of(robot, Owner(60), bystander.pid)
        assert last_resort.end(record) == ""  # nobody holds it
        with contextlib.closing(record.lock.open("w")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(EmoError, match="not to be seen from here"):
                last_resort.end(record)  # somebody else does
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(rig.file)], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    (record,) = records()
    assert f"process {holder.pid}" in last_resort.end(record)
    assert holder.wait(5.0) == -signal.SIGKILL and not record.held
    holder.stdout.close()


_HOLDER = """
import sys
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.claim import Claim, Owner
claim = Claim(RobotDescription.load(sys.argv[1]), Owner(60))
print("held", flush=True)
sys.stdin.read()
"""


FAKES = ["lx", "maestro", "dynamixel", "feetech", "pca9685"]


@pytest.mark.parametrize("kind", FAKES)
def test_every_kind_of_servo_is_let_go(kind: str) -> None:
    robot = RobotDescription.load(f"{kind}_fake")
    with contextlib.closing(make_bus(robot)) as bus:
        bus.open()
        hold(bus)
        assert "torque off (confirmed for 11 motors)" in last_resort.limp(bus)
        until(lambda: np.all(bus.holds() == 0.0))


def test_an_estop_after_which_torque_stays_on_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = pytest.importorskip("emo_motor_drivers.shared", reason="ROS is not set up")
    monkeypatch.setattr(shared, "BRAKE_S", 0.02)
    stuck = Mock(limp=False, lost=False, estop=lambda: None)
    drivers = shared.Shared()
    drivers._made = Mock(head=stuck)
    done, said = drivers._obey(True)
    assert not done and "torque is still on" in said
    threading.Timer(0.01, setattr, (stuck, "limp", True)).start()
    monkeypatch.setattr(shared, "BRAKE_S", 20.0)
    assert drivers._obey(True) == (True, "all motors stopped")


def test_an_estop_that_the_servos_do_not_hear_of_is_none_and_nobody_is_killed_for_it() -> None:
    shared = pytest.importorskip("emo_motor_drivers.shared", reason="ROS is not set up")
    unplugged = Mock(limp=False, lost=True, fault="port is not there", estop=lambda: None)
    drivers = shared.Shared()
    drivers._made = Mock(head=unplugged)
    done, said = drivers._obey(True)
    assert not done and "do not hear of it: port is not there; cut the robot's power" in said
    obeyed: set[str] = set()
    answers = [Answer("left", 60, "", done, said, "door", lost=True)]
    answers.append(Answer("right", 60, "", True, "all motors stopped", "other"))
    assert list(stop._near(answers, obeyed).values()) == [f"robot 'left' in ROS domain 60: {said}"]
    assert obeyed == {"door", "other"}, "its process lets go of them as soon as it can"
    unplugged.limp = True  # it had done so before
    assert drivers._obey(True) == (True, "all motors stopped")


# -- until the release -----------------------------------------------------------------------


def test_an_estop_outlives_the_process_of_real_servos_but_not_that_of_simulated_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    simulated = RobotDescription.load("sim")
    real = replace(simulated, bus=BusDescription("lx", str(tmp_path / "port")))
    for robot, outlives in ((real, True), (simulated, False)):
        first = Claim(robot, Owner(60))
        assert not first.marked
        first.mark()
        first.release()
        second = Claim(robot, Owner(60))
        assert bool(second.marked) is outlives
        assert not Claim(replace(robot, name="b", bus=BusDescription("sim")), Owner(61)).marked
        second.unmark()
        second.release()
        assert not Claim(robot, Owner(60)).marked
    killed = Claim(simulated, Owner(60))
    killed.mark()
    killed._file.close()  # type: ignore
    assert Claim(simulated, Owner(60)).marked, "a supervisor starts it again"


def test_a_head_that_finds_the_mark_moves_nothing_until_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    robot, owner = RobotDescription.load("sim"), Owner(60)
    mark(Record.of(robot, owner, 0).place, "for a test")
    head = Head(robot, owner=owner)
    head.open("mouth")
    head.activate("mouth")
    assert head.estopped and "for a test" in head.trouble and "for a test" in head.news[0]
    assert head.command({"jaw": 1.0}) is None and not head.torque_on
    until(lambda: np.isfinite(head.measured()[0]).all())  # where horns turned by hand are seen
    head.release()
    assert head.torque_on and not head.trouble and not marks()
    head.estop()
    until(lambda: not head.torque_on)
    assert len(marks()) == 1
    head.close("mouth")
    assert not marks() and not records()
