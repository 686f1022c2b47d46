"""Parameters as a table: type, default, range and description in one place for each node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from emo_core.errors import EmoError
from emo_core.robot import DEFAULT_ROBOT

Value = Union[bool, int, float, str, "list[str]"]

#: Every node has it: where it leaves its part of the record of a run.
TRACE_DIR = "trace_dir"


#: A descriptor's word before texts that are only some of those allowed.
SUCH_AS = "such as "


@dataclass(frozen=True)
class Parameter:
    """One parameter. Its type is its default's; `low` and `high` bound a number.

    `choices` lists the allowed texts, `examples` some of those allowed. A parameter is read at the
    start (change it and restart), unless it is `dynamic`: that the node takes over while it runs,
    or refuses, with a reason.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False
    examples: tuple[str, ...] = ()


#: Of every node that must know the robot.
ROBOT = Parameter("robot", DEFAULT_ROBOT, "a name in config/robots, or a YAML file")

#: And this one of every node.
COMMON = Parameter(TRACE_DIR, "", "folder for the records of a run; empty: keep none")


def declare(node: Node, table: Sequence[Parameter]) -> dict[str, Value]:
    """Declare `table` (and what all nodes have) on `node`; returns name -> value.

    Raises:
        EmoError: a value of the wrong type, out of its range or not among the choices.
    """
    values: dict[str, Value] = {}
    for parameter in (COMMON, *table):
        try:
            value = node.declare_parameter(
                parameter.name, parameter.default, _descriptor(parameter)
            ).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise EmoError(
                f"parameter {parameter.name} of {node.get_name()}: {error}. {parameter.description}"
            ) from None
        values[parameter.name] = list(value) if isinstance(parameter.default, list) else value
    check(values, table, node.get_name())
    return values


def check(values: Mapping[str, Value], table: Sequence[Parameter], node_name: str) -> None:
    """What a ROS descriptor cannot say of the values: choices, and that numbers are finite.

    Raises:
        EmoError: the first value that is wrong.
    """
    for parameter in table:
        value = values.get(parameter.name, parameter.default)
        wrong = ""
        if parameter.choices and value not in parameter.choices:
            wrong = f"give one of {', '.join(parameter.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            wrong = f"give a finite number. {parameter.description}"
        if wrong:
            raise EmoError(f"parameter {parameter.name} of {node_name} is '{value}': {wrong}")


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    examples = SUCH_AS + " | ".join(parameter.examples) if parameter.examples else ""
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=" | ".join(parameter.choices) or examples,
        read_only=not parameter.dynamic,
    )
    if parameter.low is not None and parameter.high is not None:
        if isinstance(parameter.default, int):
            descriptor.integer_range = [
                IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)
            ]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(
                    from_value=float(parameter.low), to_value=float(parameter.high), step=0.0
                )
            ]
    return descriptor


def overrides(values: dict[str, Value]) -> list[RosParameter]:
    """Values for a node's constructor, as the command line would give them."""
    return [RosParameter(name, value=value) for name, value in values.items()]
