"""The whole graph in one process, but for what would hold the interpreter's lock (the view).

    ros2 run emo composed --pipeline=both --source=file --speech=hello.wav --view=false

takes every option of `emo.options.GraphOptions`. The launch files start the isolated processes
beside it, for which its sources wait; `./emo lipsync`, `mimic` and `run` use `Composed` and a
supervisor for them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

import emo_nodekit  # before numpy: it sets the number of BLAS threads
from emo.graph import Process, build_graph
from emo.options import GraphOptions
from emo_core.errors import EmoError
from emo_nodekit.running import URGENT, Spinner, be_nice, leave, stop_event


class Composed:
    """The graph's entries that share this process, running while the `with` block lasts.

    rclpy must be initialised. The entries keep the order of the graph: sinks first.

    Raises:
        EmoError: a node cannot start.
    """

    def __init__(self, graph: Sequence[Process]) -> None:
        nodes: list[Any] = []
        try:
            for entry in graph:
                module = importlib.import_module(entry.module)
                nodes += module.create_nodes(
                    namespace=entry.namespace,
                    parameters=entry.parameters,
                    remappings=entry.remappings,
                )
        except BaseException:  # drivers, which come first, have torque on by now
            Spinner(nodes).stop()
            raise
        self.nodes = nodes
        self._spinner = Spinner(nodes)

    @property
    def failed(self) -> bool:
        """Whether a node broke down."""
        return self._spinner.failed.is_set()

    @property
    def stuck(self) -> bool:
        """Whether a node did not come back as all ended: see `Spinner`."""
        return self._spinner.stuck

    def __enter__(self) -> Composed:
        self._spinner.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._spinner.stop()


def _options(arguments: Sequence[str]) -> GraphOptions:
    parser = argparse.ArgumentParser(prog="composed", description=__doc__.splitlines()[0])
    for option in fields(GraphOptions):
        kind = _truth if isinstance(option.default, bool) else type(option.default)
        parser.add_argument(
            f"--{option.name}",
            type=kind,
            choices=option.metadata.get("choices"),
            default=option.default,
            help=option.metadata["help"],
        )
    return GraphOptions(**vars(parser.parse_args(arguments)))


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return text.lower() == "true"


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal comes. Exit status 2: something that no restart can mend."""
    arguments = list(sys.argv if argv is None else argv)
    be_nice(URGENT)
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stop = stop_event()
    own = rclpy.utilities.remove_ros_args(arguments)[1:]
    try:
        graph = [entry for entry in build_graph(_options(own)) if not entry.isolated]
        composed = Composed(graph)
    except EmoError as error:
        print(error, file=sys.stderr)
        rclpy.try_shutdown()
        return emo_nodekit.HOPELESS
    with composed:
        while not stop.wait(0.5) and not composed.failed:
            pass
    rclpy.try_shutdown()
    status = 1 if composed.failed else stop.status
    if composed.stuck:
        leave(status)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
