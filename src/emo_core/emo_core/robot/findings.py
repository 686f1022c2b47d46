"""What each motor's steps before a camera tell of it: servo, skin, direction, stroke, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emo_core.errors import EmoError
from emo_core.face import topology
from emo_core.robot.bench import Take
from emo_core.robot.description import WAYS, Motor, RobotDescription
from emo_core.robot.response import Response

#: A servo that does less than this share of what it was sent does not move.
_MOVES = 0.2
#: Changes of limits and neutral below this are none.
LEAST_CHANGE = 0.03


@dataclass(frozen=True)
class Finding:
    """What is now known of one motor.

    Attributes:
        servo: "moves", "still", "silent" (no answer), or "" if its bus cannot tell.
        seen: whether the face moves.
        where: of the face, "" if not seen. travel_mm: of the point that moves most.
        way: "as described", "reversed", "not as described" (neither), or "" (not described, not
            seen, or seen too badly there to tell).
        latency_sd_s: standard error of its latency; NaN if that is the others' median.
        motor: with limits, neutral pose, raw order (`turned_round`) and latency as found.
        fault: what is wrong with it and what to do, or "".
    """

    servo: str
    seen: bool
    where: str
    travel_mm: float
    way: str
    latency_sd_s: float
    motor: Motor
    fault: str


def find(
    robot: RobotDescription, takes: Sequence[Take], responses: Sequence[Response]
) -> tuple[Finding, ...]:
    """What is known of each motor after its steps.

    Args:
        robot: as described, but without latencies.
        takes: of each motor, which alone moved in it. responses: to it.

    Raises:
        EmoError: no motor moves the face.
    """
    seen = [response.latency_s for response in responses if response.seen]
    if not seen:
        raise EmoError(
            f"robot '{robot.name}': no motor moves anything in the picture. "
            "Check the servos' supply, and that the camera looks at this robot"
        )
    usual = float(np.median(seen))
    quickest = min(0.0, *seen)  # only differences matter, and a file takes none below zero
    return tuple(
        _finding(robot, index, takes[index], responses[index], usual - quickest, quickest)
        for index in range(len(robot.motors))
    )


def _finding(
    robot: RobotDescription,
    index: int,
    take: Take,
    response: Response,
    usual_s: float,
    quickest_s: float,
) -> Finding:
    motor = robot.motors[index]
    servo = servo_state(take, index)
    if not response.seen:
        return Finding(
            servo=servo,
            seen=False,
            where="",
            travel_mm=0.0,
            way="",
            latency_sd_s=float("nan"),
            motor=replace(motor, latency_s=round(usual_s, 4)),
            fault=_unseen(motor, servo, take),
        )
    found, fault, way = motor, "", direction(motor, response)
    if way == "reversed" and can_turn(robot, index):
        fault = (
            "moved the wrong way: its raw is turned round, and its neutral pose with it. "
            "Calibrate the new file once more"
        )
    elif way == "reversed" and motor.raw is not None:
        fault = (
            "moves the wrong way: turn its raw round, and write 1 - x for its limits, its neutral "
            "and in its interlocks"
        )
    elif way == "reversed":
        fault = "moves the wrong way: give it raw, the servo's units at command 0 and 1"
    elif way == "not as described":
        fault = "does not move the face as moves says: check its linkage, or mend moves"
    else:
        found = replace(found, limits=_limits(motor, response))
    point = int(np.argmax(np.linalg.norm(response.push, axis=1)))
    travel = float(np.linalg.norm(response.push[point]) * np.ptp(response.knots))
    return Finding(
        servo=servo,
        seen=True,
        where=_region(point),
        travel_mm=travel,
        way=way,
        latency_sd_s=response.latency_sd_s,
        motor=replace(found, latency_s=round(response.latency_s - quickest_s, 4)),
        fault=fault,
    )


def can_turn(robot: RobotDescription, index: int) -> bool:
    """Whether turning a motor's raw round lets the servo go nowhere it might not go before."""
    motor = robot.motors[index]
    locked = any(n == index for lock in robot.interlocks for n, _ in lock.weights)
    return motor.raw is not None and not locked and abs(sum(motor.limits) - 1.0) < 1e-6


def turned_round(motor: Motor) -> Motor:
    """The motor with its raw the other way round; the servo's neutral pose stays where it is."""
    assert motor.raw is not None
    return replace(motor, raw=motor.raw[::-1], neutral=round(1.0 - motor.neutral, 3))


def servo_state(take: Take, index: int) -> str:
    """A `Finding`'s `servo`."""
    if not len(take.told):
        return ""
    if not np.isfinite(take.told).any():
        return "silent"
    moved = np.nanmax(take.told) - np.nanmin(take.told)
    return "moves" if moved > _MOVES * np.ptp(take.sent[:, index]) else "still"


def _unseen(motor: Motor, servo: str, take: Take) -> str:
    if servo == "silent":
        return f"does not answer: check its cable, its supply, and that its id is {motor.id}"
    if servo == "still":
        return (
            f"stays at {float(np.nanmean(take.told)):.2f} whatever it is sent: "
            "is it stuck, or without torque?"
        )
    if motor.gaze:
        return ""
    if servo == "moves":
        return "turns, but nothing moves in the picture: is its linkage loose, or out of sight?"
    return "moves nothing in the picture: check its cable, its id and its linkage"


def direction(motor: Motor, response: Response) -> str:
    """A `Finding`'s `way`."""
    if motor.moves is None:
        return ""
    ahead = np.array(WAYS[motor.moves.way])
    push = float(ahead @ response.push[motor.moves.point])
    error = float(np.linalg.norm(response.push_sd[motor.moves.point]))
    if abs(push) < 4.0 * error:
        most = float(np.linalg.norm(response.push, axis=1).max())
        return "not as described" if 8.0 * error < most else ""
    return "as described" if push > 0.0 else "reversed"


def _limits(motor: Motor, response: Response) -> tuple[float, float]:
    """The file's, but for ends where the face surely does not move any more."""
    low, high = motor.limits
    first, last = response.usable()
    if first > low + LEAST_CHANGE and first > response.knots[0]:
        low = round(min(first, motor.neutral), 3)
    if last < high - LEAST_CHANGE and last < response.knots[-1]:
        high = round(max(last, motor.neutral), 3)
    return (low, high) if low < high else motor.limits


def _region(point: int) -> str:
    """The part of the face that a FaceMesh point belongs to."""
    parts = {
        "iris": (topology.RIGHT_IRIS, topology.LEFT_IRIS),
        "eye": (topology.EYES,),
        "brow": (topology.EYEBROWS,),
        "lips": (topology.LIPS,),
        "jaw": (topology.LOWER_OVAL,),
    }
    for name, tables in parts.items():
        if any(point in table for table in tables):
            return name
    return "skin"
