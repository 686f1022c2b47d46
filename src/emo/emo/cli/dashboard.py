"""A web page of the running graph: faces, signals, delays, health, motors by hand, e-stop.

Joins the graph of the ROS domain that this shell chose (ROS_DOMAIN_ID), else the one emo that runs
on this machine. Only this machine's browsers see the page, unless --host says otherwise: then the
printed address has a token, which a browser must know. Ends with Ctrl-C. The page costs next to
nothing while nobody looks, and runs in a process of its own.
"""

from __future__ import annotations

import argparse
import time

from emo.cli import add_namespace, ensure
from emo_core.errors import EmoError

#: The graph is looked for so long.
PATIENCE_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--port", type=int, default=8080, help="of the page (default 8080)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on; 0.0.0.0: for other machines, too, with a token",
    )
    add_namespace(parser)
    parser.add_argument(
        "--robot", default="", metavar="NAME|FILE", help="default: the one its drivers have"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address only")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
    from emo.attach import join_graph

    ensure("dashboard", "./emo dashboard")
    domain = join_graph(args.namespace)
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from emo.bootstrap import say
    from emo_dashboard.dashboard import DashboardNode
    from emo_nodekit.running import PATIENT, Spinner, be_nice, stop_event

    be_nice(PATIENT)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        namespace = args.namespace
        robot = args.robot or _robot_of(namespace, domain)  # Ctrl-C ends the search at once
        stop = stop_event()
        node = DashboardNode(namespace, {"robot": robot, "host": args.host, "port": args.port})
        say(f"robot {robot} in ROS domain {domain}: {node.url}")
        spinner = Spinner([node])
        spinner.start()
        if not args.no_browser:
            import webbrowser

            webbrowser.open(node.url)
        while not stop.wait(0.5) and not spinner.failed.is_set():
            pass
        spinner.stop()
        if spinner.failed.is_set():
            raise EmoError("the dashboard broke down (see above); run again with --debug")
        return 0
    finally:
        rclpy.try_shutdown()


def _robot_of(namespace: str, domain: int) -> str:
    """What the drivers call their robot.

    Raises:
        EmoError: there are none.
    """
    from rclpy.node import Node

    from emo_dashboard.remote import Remote
    from emo_nodekit.running import Spinner

    node = Node("dashboard_search", namespace=namespace, start_parameter_services=False)
    spinner = Spinner([node])
    spinner.start()
    driver = f"{node.get_namespace().rstrip('/')}/mouth_driver"
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return str(Remote(node).value(driver, "robot"))
            except EmoError:
                if time.monotonic() > deadline_s:
                    raise EmoError(
                        f"no {driver} in ROS domain {domain}: start a graph, say its --namespace, "
                        "or name the robot with --robot"
                    ) from None
    finally:
        spinner.stop()
