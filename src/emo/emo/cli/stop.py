"""E-stop: every robot of this machine brakes as hard as its limits allow, then lets go.

Asks the motor drivers of this machine directly, which takes no longer than to start this; then, on
the ROS graph, those of the domain that this shell chose (ROS_DOMAIN_ID), and of any in which an emo
runs here but no driver answered. A process of this machine that holds a robot and does not do it
within a second is killed, with all that runs in it, and the servos' torque is switched off from
here; so it is where a driver was killed. Motors stay without torque, whatever is commanded and
whoever is started, until `./emo stop --release`; with simulated servos, until their run ends. The
exit status is 0 only if there was a robot and every one that was found did as it was told. It is no
substitute for a switch in the supply.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import checkout
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emo_motor_drivers.claimed import Record
    from emo_motor_drivers.door import Answer

#: Drivers are looked for, and may answer, for so long.
PATIENCE_S = 2.0
#: Once every domain showed a driver, others are waited for so long.
QUIET_S = 0.4
POLL_S = 0.005
SERVICE = "std_srvs/srv/SetBool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--release", action="store_true", help="let motors work again, gently, from where they are"
    )
    parser.add_argument(
        "--robot",
        metavar="NAME|FILE",
        help="this robot's torque as well, though nothing on this machine drives it",
    )


def run(args: argparse.Namespace) -> int:
    """Find the drivers, call them, say what they answered."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    from emo.ros_domain import chosen_domain, running_domains
    from emo_motor_drivers.door import knock

    _said[:] = os.environ.pop(SAID, "").splitlines()
    stop = not args.release
    obeyed: set[str] = set()  # doors of those that did as they were told, or will
    robots = _near(knock(stop), obeyed)  # before anything slow is imported
    chosen, wanted = None, running_domains()
    try:
        chosen = chosen_domain(os.environ)
    except EmoError as error:  # the others are stopped all the same
        robots[-1, "ROS_DOMAIN_ID"] = str(error)
    if stop:
        unreached = _force(obeyed, args.robot, robots)
    else:
        unreached = _unmark(robots)
    wanted |= unreached
    if chosen is not None or not (robots or wanted):
        wanted.add(chosen or 0)
    if unreached or wanted - {domain for domain, _ in robots}:
        _enter_ros()
        _search(wanted, stop, robots)
    if not robots and not _said:
        raise EmoError(
            f"no motor driver in ROS domain {', '.join(map(str, sorted(wanted)))}: run this with "
            "the ROS_DOMAIN_ID of the robot, name a robot that nothing drives with --robot, or cut "
            "its power"
        )
    problems = [problem for problem in robots.values() if problem]
    if problems:
        raise EmoError("; ".join(problems))
    return 0


#: Robots by ROS domain and namespace (-1 and a path for those without): "" once one did as it was
#: told, else what went wrong.
_Robots = dict[tuple[int, str], str]


def _near(answers: Iterable[Answer | Path], obeyed: set[str]) -> _Robots:
    """Robots of this machine, which were asked directly; adds to `obeyed`."""
    robots: _Robots = {}
    for answer in answers:
        if isinstance(answer, Path):
            robots[-1, str(answer)] = f"{_owner(answer)} does not answer: cut the robot's power"
            continue
        who = f"robot '{answer.robot}' in ROS domain {answer.domain}"
        if answer.done:
            _say(f"{who}: {answer.message}")
        if answer.done or answer.lost:  # nobody else reaches those servos either
            obeyed.add(answer.door)
        problem = "" if answer.done else f"{who}: {answer.message}"
        place = answer.domain, answer.namespace
        robots[place] = robots.get(place) or problem  # of two robots in one place, of either
    return robots


def _owner(door: Path) -> str:
    """The process behind a door that nobody answers at, for people."""
    from emo_motor_drivers.last_resort import called

    return f"{called(int(door.stem.split('-')[-2]))}, which drives a robot,"


#: What was said, also by this process before it entered ROS, which may start it anew.
_said: list[str] = []
SAID = "EMO_STOP_SAID"


def _say(line: str) -> None:
    if line not in _said:
        print(line, flush=True)
        _said.append(line)


# -- by force --------------------------------------------------------------------------------


def _force(obeyed: set[str], named: str | None, robots: _Robots) -> set[int]:
    """End whoever holds a robot and did not obey, and let its servos go; adds to `robots`.

    Returns:
        ROS domains of those that this user cannot reach: the graph may.
    """
    from emo_motor_drivers.claimed import records

    known = records()
    left = [record for record in known if not record.owner.door or record.owner.door not in obeyed]
    if named is not None:
        try:
            left += _named(named, known)
        except EmoError as error:  # the others are stopped all the same
            robots[-1, named] = str(error)
    left = [record for record in left if not _forgotten(record)]
    for record in left:  # what is wrong with them is found anew
        robots.pop((-1, record.owner.door), None)
        robots[_key(record)] = ""
    free = [record for record in left if _ended(record, robots)]
    for record in free:
        _let_go(record, robots)
    return _domains_of(record for record in left if not record.ours and record.held)


def _domains_of(others: Iterable[Record]) -> set[int]:
    return {record.owner.domain for record in others if record.owner.domain >= 0}


def _named(name: str, known: list[Record]) -> list[Record]:
    """The robot, unless it is known that somebody drives it, or did."""
    from emo.ros_domain import chosen_domain
    from emo_core.robot.description import RobotDescription
    from emo_motor_drivers.claimed import Owner, Record

    robot = RobotDescription.load(name)
    domain = (chosen_domain(os.environ) or 0) if robot.bus.kind == "ros" else -1
    record = Record.of(robot, Owner(domain), pid=0)
    if record.place in [other.place for other in known]:
        return []
    if record.simulated:
        raise EmoError(f"{robot.file}: its servos are simulated: there are none without a driver")
    with contextlib.suppress(OSError):  # the next ./emo stop need not be told its name
        record.write()
    return [record]


def _key(record: Record) -> tuple[int, str]:
    owner = record.owner
    return (-1, str(record.place)) if owner.domain < 0 else (owner.domain, owner.namespace)


def _forgotten(record: Record) -> bool:
    """Whether it is of simulated servos, of a run that crashed long ago; if so it is removed."""
    from emo.ros_domain import running_domains

    if not record.simulated or record.held or record.owner.domain in running_domains():
        return False
    with contextlib.suppress(OSError):
        record.remove()
    return True


def _ended(record: Record, robots: _Robots) -> bool:
    """Kill who holds a robot, if anybody does; whether its servos are free now."""
    from emo_motor_drivers.claimed import mark, why_stopped
    from emo_motor_drivers.last_resort import end

    if record.ours:  # a mark of this user's, others could not remove
        try:
            if not why_stopped(record.place):
                mark(record.place, "by ./emo stop: its drivers did not answer")
            _say(f"{record.who}: e-stop set for whoever drives it next, until ./emo stop --release")
        except OSError as error:
            where = f"cannot write {record.lock.parent} ({error.strerror})"
            robots[_key(record)] = f"{record.who}: {where}"
    try:
        done = end(record)
    except EmoError as error:
        robots[_key(record)] = f"{record.who}: {error}"
        return False
    _say(f"{record.who}: {done or 'nobody drives it'}")
    return True


def _let_go(record: Record, robots: _Robots) -> None:
    """Switch a robot's torque off from here."""
    from emo_motor_drivers.claimed import records
    from emo_motor_drivers.door import knock
    from emo_motor_drivers.last_resort import let_go

    try:
        if record.kind == "ros" and not record.simulated:
            _enter_ros()
            os.environ |= _environment(record.owner.domain)
        done = let_go(record)
    except (EmoError, OSError) as error:
        # Its driver may be back, and has found the e-stop set.
        obeyed: set[str] = set()
        _near(knock(True), obeyed)
        if not any(r.place == record.place and r.owner.door in obeyed for r in records()):
            robots[_key(record)] = f"{record.who}: {error}"
        return
    _say(f"{record.who}: {done}")


def _unmark(robots: _Robots) -> set[int]:
    """Release the e-stop of robots that nobody drives: drivers were asked, and do it themselves.

    Returns:
        ROS domains of those whose drivers this user cannot ask: the graph may.
    """
    from emo_motor_drivers.claimed import marks, records, unmark

    left = {record.place: record for record in records()}
    for place in marks():
        record = left.get(place)
        if record is not None and record.held:
            continue
        key = (-1, str(place))
        try:
            unmark(place)
            if record is not None:
                record.remove()
        except OSError as error:
            robots[key] = f"cannot remove {error.filename} ({error.strerror})"
            continue
        robots[key] = ""
        _say(f"{place.name if record is None else record.who}: released, and nobody drives it")
    return _domains_of(record for record in left.values() if not record.ours and record.held)


# -- on the graph ----------------------------------------------------------------------------


def _enter_ros() -> None:
    from emo.ros_setup import enter_ros, ros_ready

    root, venv = checkout(), Path(sys.prefix)
    if root is not None and not ros_ready(root, venv):
        raise EmoError(
            "no motor driver on this machine, and ROS is not set up here to look for others: stop "
            "the robot from where it runs, or cut its power"
        )
    os.environ[SAID] = "\n".join(_said)
    enter_ros(root, venv, apart=False)
    del os.environ[SAID]


def _search(numbers: set[int], stop: bool, robots: _Robots) -> None:
    """Call the drivers on the graph in these ROS domains; adds to `robots`."""
    domains = _domains(numbers, {domain for (domain, _), problem in robots.items() if not problem})
    try:
        drivers = _call(domains, stop)
    finally:
        for domain in domains:
            domain.node.context.try_shutdown()
    _far(drivers, robots)


@dataclass
class _Domain:
    number: int
    known: bool  # a robot of it was asked directly
    node: Any  # rclpy is imported late
    executor: Any


@dataclass
class _Driver:
    domain: int
    name: str  # "/namespace/mouth_driver"
    client: Any
    answer: Any = None  # a future, once it was called

    @property
    def answered(self) -> bool:
        return self.answer is not None and self.answer.done()


def _domains(numbers: set[int], known: set[int]) -> list[_Domain]:
    """A node in each domain: the shell's as its environment says, emo's own on this machine."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    domains = []
    for number in sorted(numbers, key=lambda number: bool(_environment(number))):
        os.environ |= _environment(number)
        context = rclpy.Context()
        rclpy.init(
            args=[],
            context=context,
            domain_id=number,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = Node(f"stop_{os.getpid()}_{number}", context=context, enable_rosout=False)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        domains.append(_Domain(number, number in known, node, executor))
    return domains


def _environment(domain: int) -> dict[str, str]:
    """Variables that lead to a ROS domain: those that the shell did not choose are emo's own."""
    from emo.ros_domain import chosen_domain, local_environment
    from emo.ros_setup import sourced_distro

    with contextlib.suppress(EmoError):  # which `run` says
        if domain == (chosen_domain(os.environ) or 0):
            return {}
    local = local_environment(sourced_distro(Path(sys.prefix)))
    return {**local, "ROS_DOMAIN_ID": str(domain)}


def _call(domains: list[_Domain], stop: bool) -> list[_Driver]:
    """Call the e-stop of every driver as soon as it shows up."""
    from std_srvs.srv import SetBool

    drivers: dict[tuple[int, str], _Driver] = {}
    began = found = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        for domain in domains:
            for name, kinds in domain.node.get_service_names_and_types():
                key = domain.number, name.removesuffix("/estop")
                if name.endswith("_driver/estop") and SERVICE in kinds and key not in drivers:
                    drivers[key] = _Driver(*key, domain.node.create_client(SetBool, name))
                    found = time.monotonic()
            domain.executor.spin_once(timeout_sec=POLL_S)
        for driver in drivers.values():
            if driver.answer is None and driver.client.service_is_ready():
                driver.answer = driver.client.call_async(SetBool.Request(data=stop))
        seen = {driver.domain for driver in drivers.values()}
        complete = all(domain.known or domain.number in seen for domain in domains)
        answered = all(driver.answered for driver in drivers.values())
        if complete and answered and time.monotonic() - found > QUIET_S:
            break
    return [drivers[key] for key in sorted(drivers)]


def _far(drivers: list[_Driver], robots: _Robots) -> None:
    """Robots that were asked over the graph; those that did it before are not asked for more."""
    for driver in drivers:
        who = f"{driver.name} in ROS domain {driver.domain}"
        robot = driver.domain, driver.name.rpartition("/")[0]
        done_before = robots.get(robot) == ""
        if not driver.answered:
            problem = f"{who} does not answer: cut the robot's power"
        elif not driver.answer.result().success:
            problem = f"{who}: {driver.answer.result().message}"
        else:
            problem = ""
            if not done_before:
                print(f"{who}: {driver.answer.result().message}")
        robots[robot] = problem and robots.get(robot, problem)
