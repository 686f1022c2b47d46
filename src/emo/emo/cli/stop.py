"""E-stop: every robot of this machine brakes as hard as its limits allow, then lets go.

Asks the motor drivers of this machine directly, and then those on the ROS graph: in all domains in
which an emo runs here, and in the one of this shell (ROS_DOMAIN_ID). Motors stay without torque,
whatever is commanded, until `./emo stop --release`. The exit status is 0 only if there was a robot
and every one that was found did as it was told. It is no substitute for a switch in the supply.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import checkout
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from emo_motor_drivers.door import Answer

#: Drivers are looked for, and may answer, for so long.
PATIENCE_S = 2.0
#: Once every running emo showed its drivers, others are waited for so long.
QUIET_S = 0.4
POLL_S = 0.005
SERVICE = "std_srvs/srv/SetBool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--release", action="store_true", help="let motors work again, gently, from where they are"
    )


def run(args: argparse.Namespace) -> int:
    """Find the drivers, call them, say what they answered."""
    from emo.ros_setup import enter_ros, ros_ready, sourced_distro

    root, venv = checkout(), Path(sys.prefix)
    if root is not None and not ros_ready(root, venv):
        raise EmoError(
            "ROS is not set up here, so no driver was started from this checkout: stop the robot "
            "from where it runs, or cut its power"
        )
    enter_ros(root, venv, apart=False)
    from emo_motor_drivers.door import knock
    from emo_nodekit.running import URGENT, be_nice

    be_nice(URGENT)
    local = list(knock(stop=not args.release))  # at once, however long discovery takes
    robots = _near(local)
    domains = _domains(sourced_distro(venv))
    try:
        drivers = _call(domains, not args.release, {domain for domain, _ in robots})
    finally:
        for domain in domains:
            domain.node.context.try_shutdown()
    _far(drivers, robots)
    if not robots:
        numbers = ", ".join(str(domain.number) for domain in domains)
        raise EmoError(
            f"no motor driver in ROS domain {numbers}: run this with the ROS_DOMAIN_ID of the "
            "robot, or cut its power"
        )
    problems = [problem for problem in robots.values() if problem]
    if problems:
        raise EmoError("; ".join(problems))
    return 0


#: Robots by ROS domain and namespace: "" once one did as it was told, else what went wrong.
_Robots = dict[tuple[int, str], str]


def _near(answers: list[Answer | Path]) -> _Robots:
    """Robots of this machine, which were asked directly."""
    robots: _Robots = {}
    for answer in answers:
        if isinstance(answer, Path):
            robots[-1, str(answer)] = f"{answer}: nobody answers there: cut the robot's power"
            continue
        who = f"robot '{answer.robot}' in ROS domain {answer.domain}"
        if answer.done:
            print(f"{who}: {answer.message}", flush=True)
        problem = "" if answer.done else f"{who}: {answer.message}"
        robots[answer.domain, answer.namespace] = problem
    return robots


@dataclass
class _Domain:
    number: int
    expected: bool  # an emo runs there: it will have drivers
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


def _domains(distro: str | None) -> list[_Domain]:
    """A node in each domain: the shell's as its environment says, emo's own on this machine."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    from emo.ros_domain import local_environment, running_domains

    chosen = int(os.environ.get("ROS_DOMAIN_ID") or 0)
    domains = []
    environment = dict(os.environ)
    running = running_domains()
    for number in sorted({chosen, *running}, key=lambda number: number == chosen):
        os.environ.update(environment if number == chosen else local_environment(distro))
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
        domains.append(_Domain(number, number in running, node, executor))
    return domains


def _call(domains: list[_Domain], stop: bool, seen: set[int]) -> list[_Driver]:
    """Call the e-stop of every driver as soon as it shows up.

    Args:
        domains: where to look.
        stop: or release.
        seen: ROS domains whose robots did it already; for others there is more patience.
    """
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
        known = seen | {driver.domain for driver in drivers.values()}
        complete = known and all(d.number in known for d in domains if d.expected)
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
