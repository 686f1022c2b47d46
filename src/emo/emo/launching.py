"""The graph as ROS 2 processes by launch_ros: what the files in `launch/` share.

Arguments, their defaults and the nodes come from `emo.graph`; nothing is repeated here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import Field, fields, replace
from functools import partial
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown, TimerAction
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from emo.backoff import Backoff, ending
from emo.graph import Process, build_graph
from emo.middleware import profile_environment
from emo.options import GraphOptions
from emo_nodekit import HOPELESS
from launch import LaunchContext, LaunchDescription


def _kept_running(
    make: Callable[..., Node], isolated: bool, backoff: Backoff | None = None
) -> Node:
    """A process that is started again whenever it ends, ever later if it does so again and again.

    launch's own `respawn` knows one delay only.

    Args:
        make: makes the action, of these arguments of `Node` beside its own.
        isolated: it only looks on: the graph goes on without it where a restart cannot help.
        backoff: of a process that ran before.
    """
    backoff = backoff or Backoff()
    started_s = time.monotonic()

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Any]:
        name, status = event.process_name, event.returncode
        if context.is_shutdown:
            return []
        if status == HOPELESS:  # the process has said why
            if isolated:
                return [LogInfo(msg=f"{name} cannot run: the graph goes on without it")]
            return [Shutdown(reason=f"{name} cannot run")]
        delay_s = backoff.ended(status, time.monotonic() - started_s)
        again = OpaqueFunction(function=lambda context: [_kept_running(make, isolated, backoff)])
        return [
            LogInfo(msg=f"{name} ended ({ending(status)}): starting it again in {delay_s:.1f} s"),
            TimerAction(period=delay_s, actions=[again]),
        ]

    return make(
        output="screen",
        # At the end the drivers ease to neutral, and the view finishes its film: on a busy machine
        # launch's own 5 s would be too short.
        sigterm_timeout="10",
        on_exit=on_exit,
        additional_env={
            **profile_environment(os.environ, os.environ.get("ROS_DISTRO")),
            **backoff.environment(),
        },
    )


def launch_description(pipeline: str) -> LaunchDescription:
    """Arguments and graph of `pipeline`: lipsync, mimic or both."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    option.name,
                    default_value=_text(option.default),
                    description=option.metadata["help"],
                    choices=_choices(option),
                )
                for option in GraphOptions.of(pipeline)
            ),
            DeclareLaunchArgument(
                "composed",
                default_value="false",
                choices=["true", "false"],
                description="one process for the pipelines and the drivers (lower latency), "
                "instead of one for each",
            ),
            OpaqueFunction(function=partial(_processes, pipeline)),
        ]
    )


def replay_description() -> LaunchDescription:
    """Arguments and graph of a recording that is shown on the robot again."""
    helps = {option.name: str(option.metadata["help"]) for option in fields(GraphOptions)}
    arguments = {
        "bag": "the recording's folder",
        "from": "the topic to feed, say lipsync/landmarks; empty: each pipeline's first",
        "robot": "a name in config/robots, or a YAML file; empty: the recorded name, as this "
        "machine has it",
        "view": "render the simulated robot's camera image: true or false",
        "out": helps["out"],
    }
    defaults = {"bag": None, "view": "true"}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=defaults.get(name, ""), description=text)
                for name, text in arguments.items()
            ),
            OpaqueFunction(function=partial(_replayed, list(arguments))),
        ]
    )


def _replayed(names: list[str], context: LaunchContext) -> list[Any]:
    """The graph for a recording."""
    from emo import replay
    from emo_core.bag import Bag

    chosen = {name: LaunchConfiguration(name).perform(context) for name in names}
    bag = Bag(chosen["bag"])
    options = replay.recorded_options(bag)
    options = replace(
        options,
        robot=chosen["robot"] or options.robot,
        view=chosen["view"] == "true",
        out=chosen["out"],
    )
    return [_node(process) for process in replay.live(bag, options, chosen["from"])]


def _processes(pipeline: str, context: LaunchContext) -> list[Any]:
    """The graph for the arguments' values."""
    values: dict[str, Any] = {"pipeline": pipeline}
    for option in GraphOptions.of(pipeline):
        values[option.name] = _value(option, LaunchConfiguration(option.name).perform(context))
    graph = build_graph(GraphOptions(**values))
    if LaunchConfiguration("composed").perform(context) == "false":
        return [_node(process) for process in graph]
    composed = partial(
        Node,
        package="emo",
        executable="composed",
        arguments=[f"--{name}={_text(value)}" for name, value in values.items()],
    )
    return [
        _kept_running(composed, isolated=False),
        *(_node(process) for process in graph if process.isolated),
    ]


def _node(process: Process) -> Node:
    parameters = {
        # Typed, or launch_ros would make the number 3 of a device called "3".
        name: value if isinstance(value, list) else ParameterValue(value, value_type=type(value))
        for name, value in process.parameters.items()
    }
    make = partial(
        Node,
        package=process.package,
        executable=process.executable,
        # A process of several nodes names them itself.
        name=process.node_name or None,
        namespace=process.namespace or None,
        parameters=[parameters],
        remappings=list(process.remappings),
    )
    return _kept_running(make, process.isolated)


def _choices(option: Field[Any]) -> list[str] | None:
    if isinstance(option.default, bool):
        return ["true", "false"]
    choices = option.metadata.get("choices")
    return list(choices) if choices else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(option: Field[Any], text: str) -> Any:
    """A launch argument's text as the type of the option's default."""
    if isinstance(option.default, bool):
        return text == "true"
    kind: type[Any] = type(option.default)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{option.name}:={text}: give a number") from None
