"""How long each process of a running graph is away after `kill -9`.

    ./emo run SPEECH --video VIDEO --processes --headless   # or: ros2 launch emo both.launch.py
    .venv/bin/python benchmarks/respawn.py [--namespace NAME] [--json]      # in another terminal

Kills every process of the graph in turn, and waits until all its nodes send again. From the kill it
is `down_s` to the first message on the node's own topic, `told_s` to its first diagnostics; by
then the new process has used `cpu_s` of a core, whatever else the machine does: `load` is its load
average at the kill. The recordings must last for the whole round: some 8 s for each process. It
joins the graph as `./emo top` does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node

#: What each node sends while its signal flows, relative to the robot's namespace. Of the others
#: (the recorder, the dashboard) the diagnostics tell that they are back.
OUTPUTS = {
    "microphone": "audio",
    "speaker": "audio_played",
    "speech_features": "speech_features",
    "audio2landmark": "lipsync/landmarks",
    "lipsync/normalization": "lipsync/robot_landmarks",
    "lipsync/inverse_model": "lipsync/motor_command",
    "camera": "image/compressed",
    "face_tracking": "mimic/landmarks",
    "mimic/predictive_model": "mimic/predicted",
    "mimic/normalization": "mimic/robot_landmarks",
    "mimic/inverse_model": "mimic/motor_command",
    "arbiter": "motor_command",
    "eye_driver": "joint_states",
    "mouth_driver": "joint_states",
    "robot_view": "sim/image",
}

#: A process that is not back after so long will not come.
PATIENCE_S = 60.0
#: Between two kills: the graph is whole again, and no process dies twice within a short time.
PAUSE_S = 4.0


@dataclass(frozen=True)
class Absence:
    """How long the nodes of one process were away.

    Attributes:
        nodes: relative to the robot's namespace.
        down_s: from the kill to the first message on the slowest node's own topic.
        told_s: to the slowest node's first diagnostics.
        cpu_s: what the new process had used by then.
        load: the machine's load average at the kill.
    """

    nodes: tuple[str, ...]
    down_s: float
    told_s: float
    cpu_s: float
    load: float


class Witness:
    """Hears, on the given node, what every node of the graph sends.

    Args:
        node: somebody spins it in another thread.
        namespace: the robot's, without slashes.
    """

    def __init__(self, node: Node, namespace: str = "") -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        from emo_nodekit import qos

        self._node, self._place = node, f"/{namespace}/" if namespace else "/"
        self._heard_s: dict[str, list[float]] = {}
        self.processes: dict[str, str] = {}
        """Node -> host:pid, of those that run."""
        self.said: dict[str, list[tuple[float, str, int]]] = {}
        """Node -> time, message and crashes, as its diagnostics have told since the last kill."""
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.GLANCE)
        self._follow(sorted(set(OUTPUTS.values())))

    def _follow(self, topics: list[str]) -> None:
        """Subscribe, undecoded, to those of the topics that have a publisher."""
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        from emo_recorder.offered import message_class

        best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        deadline = time.monotonic() + 5.0
        while topics and time.monotonic() < deadline:
            kinds = dict(self._node.get_topic_names_and_types())
            for topic in [topic for topic in topics if self._place + topic in kinds]:
                name = self._place + topic
                self._node.create_subscription(
                    message_class(kinds[name][0]), name, self._noting(topic), best_effort, raw=True
                )
                topics = [one for one in topics if one != topic]
            time.sleep(0.2)

    def _noting(self, topic: str) -> Callable[[bytes], None]:
        def note(data: bytes) -> None:
            self._heard_s.setdefault(topic, []).append(time.monotonic())

        return note

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            name = f"/{status.name}"
            if status.hardware_id == "emo" and name.startswith(self._place):
                facts = {item.key: item.value for item in status.values}
                node = name[len(self._place) :]
                line = (time.monotonic(), status.message, int(facts.get("crashes", 0)))
                self.said.setdefault(node, []).append(line)
                self.processes[node] = facts.get("process", "")

    def groups(self) -> list[tuple[str, ...]]:
        """The nodes of each process, what stands at the pipeline's end first."""
        order = [*OUTPUTS][::-1]
        nodes: dict[str, list[str]] = {}
        for node in sorted(self.processes, key=lambda n: order.index(n) if n in order else -1):
            nodes.setdefault(self.processes[node], []).append(node)
        return [tuple(names) for names in nodes.values()]

    def kill(self, nodes: tuple[str, ...], timeout_s: float = PATIENCE_S) -> Absence:
        """Kill the process of `nodes`, and wait until all of them are back.

        Raises:
            TimeoutError: they are not.
        """
        process, load = self.processes[nodes[0]], os.getloadavg()[0]
        for kept in (self._heard_s, self.said):
            kept.clear()
        killed_s = time.monotonic()
        os.kill(_pid(process), signal.SIGKILL)
        down, told = dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0.0)
        while not (all(told.values()) and all(down.values())):
            if time.monotonic() - killed_s > timeout_s:
                away = ", ".join(node for node in nodes if not (told[node] and down[node]))
                raise TimeoutError(f"{away}: not back after {timeout_s:g} s")
            time.sleep(0.005)
            for node in [node for node in nodes if self.processes[node] != process]:
                # What was sent before the new process began was still on its way.
                began_s = _began_s(_pid(self.processes[node]))
                told[node] = told[node] or self.said[node][-1][0] - killed_s
                heard_s = (
                    self._heard_s.get(OUTPUTS[node], [])
                    if node in OUTPUTS
                    else [killed_s + told[node]]
                )
                down[node] = next((at - killed_s for at in heard_s if at > began_s), 0.0)
        cpu_s = _cpu_s(_pid(self.processes[nodes[0]]))
        return Absence(nodes, max(down.values()), max(told.values()), cpu_s, load)


def _pid(process: str) -> int:
    """Of `host:pid`."""
    return int(process.rsplit(":", 1)[1])


def _stat(pid: int, *fields: int) -> float:
    """The sum of some times in /proc/PID/stat (numbers as in proc(5)), in s."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(stat[field - 3]) for field in fields) / os.sysconf("SC_CLK_TCK")


def _began_s(pid: int) -> float:
    """When a process was started, on the monotonic clock."""
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return _stat(pid, 22) - asleep_s


def _cpu_s(pid: int) -> float:
    """What a process has used of a core: its own, and the kernel's time for it."""
    return _stat(pid, 14, 15)


@contextlib.contextmanager
def witnessing(namespace: str) -> Iterator[Witness]:
    """A witness of the graph that this shell's ROS domain has."""
    import rclpy
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    from emo_nodekit.running import Spinner

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node("respawn")
    spinner = Spinner([node])
    spinner.start()
    try:
        yield Witness(node, namespace)
    finally:
        spinner.stop()
        rclpy.try_shutdown()


def main() -> int:
    """Kill every process of the graph, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--namespace", default="", help="the robot's namespace")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for package in sorted((Path(__file__).resolve().parents[1] / "src").iterdir()):
        sys.path.append(str(package))
    from emo.attach import join_graph
    from emo_core.errors import EmoError

    try:
        join_graph()
    except EmoError as error:
        sys.exit(str(error))
    rows = []
    with witnessing(args.namespace.strip("/")) as witness:
        time.sleep(3.0)  # every node has reported twice
        if not witness.processes:
            sys.exit("no graph is heard in this ROS domain: start one")
        if not args.json:
            print(" down_s  told_s   cpu_s    load   nodes")
        for nodes in witness.groups():
            try:
                rows.append(witness.kill(nodes))
            except (TimeoutError, FileNotFoundError, ProcessLookupError) as error:
                sys.exit(f"the graph, or a part of it, has ended: {error}")
            if not args.json:
                row = rows[-1]
                figures = (row.down_s, row.told_s, row.cpu_s, row.load)
                print(*(f"{figure:7.2f}" for figure in figures), " ", *row.nodes, flush=True)
            time.sleep(PAUSE_S)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
