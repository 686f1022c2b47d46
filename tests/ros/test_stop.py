"""How nodes end: by signals, however many, and without racing their executors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from waiting import until

pytestmark = pytest.mark.ros

MANY_SIGNALS = """
import os, signal, threading, time
from emo_nodekit.running import stop_event

stop = stop_event()
def fire():
    time.sleep(0.2)
    for _ in range(300):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
thread = threading.Thread(target=fire)
thread.start()
assert not stop.is_set()
while not stop.wait(10.0):
    raise SystemExit("never stopped")
thread.join()
assert stop.is_set() and stop.wait(0.0)
stop.release()
try:  # what comes after the nodes is interrupted as anything else
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10.0)
except KeyboardInterrupt:
    raise SystemExit(0)
raise SystemExit("the signal was swallowed")
"""


def test_signals_upon_signals_do_not_lock_a_node_out() -> None:
    pytest.importorskip("rclpy")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", MANY_SIGNALS], env=environment, check=True, timeout=30)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    rclpy = pytest.importorskip("rclpy")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=99)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield context
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
        signal.signal(number, handler)
    rclpy.try_shutdown(context=context)


@pytest.fixture(params=["events", "wait set"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`emo_nodekit.running`, with rclpy's EventsExecutor and as where there is none (Humble)."""
    from emo_nodekit import running

    if request.param == "wait set":
        monkeypatch.setattr(running, "EventsExecutor", running.SingleThreadedExecutor)
    elif running.EventsExecutor is running.SingleThreadedExecutor:
        pytest.skip("this rclpy has no EventsExecutor")
    return running


def test_idle_and_busy_nodes_end_at_once(ros: Any, running: Any) -> None:
    from rclpy.node import Node

    ended: list[str] = []

    class Worker(Node):
        event_driven = True

        def stop(self) -> None:
            ended.append(self.get_name())

    for _ in range(5):
        ended.clear()
        nodes = [Worker("idle", context=ros), Worker("busy", context=ros)]
        nodes[1].create_timer(0.0005, lambda: None)
        spinner = running.Spinner(nodes)
        spinner.start()
        time.sleep(0.05)
        began = time.monotonic()
        spinner.stop()
        assert time.monotonic() - began < 4.0
        assert ended == ["busy", "idle"], "sources first"
        assert not spinner.failed.is_set()
    names = [thread.name for thread in threading.enumerate()]
    assert "idle" not in names and "busy" not in names


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_fails_the_process(ros: Any, running: Any) -> None:
    from rclpy.node import Node

    node = Node("mouth", context=ros)
    node.event_driven = True
    node.create_timer(0.01, lambda: 1 / 0)
    spinner = running.Spinner([node])
    spinner.start()
    assert spinner.failed.wait(5.0)
    spinner.stop()


def test_each_node_hears_what_it_asks_for(ros: Any, running: Any) -> None:
    from rclpy.node import Node
    from std_msgs.msg import Float64

    class Driven(Node):
        event_driven = True

    heard: list[float] = []
    about: list[dict[str, Any]] = []
    listener, told = Driven("listener", context=ros), Node("told", context=ros)
    listener.create_subscription(Float64, "number", lambda message: heard.append(message.data), 9)
    told.create_subscription(Float64, "number", lambda message, info: about.append(info), 9)
    out = listener.create_publisher(Float64, "number", 9)
    spinner = running.Spinner([listener, told])
    spinner.start()
    try:
        until(lambda: out.get_subscription_count() == 2)
        for i in range(3):
            out.publish(Float64(data=float(i)))
        until(lambda: len(heard) == len(about) == 3)
    finally:
        spinner.stop()
    assert heard == [0.0, 1.0, 2.0]
    assert all(info["source_timestamp"] for info in about)


def test_a_node_that_cannot_keep_up_still_has_its_timers(ros: Any, running: Any) -> None:
    from rclpy.node import Node
    from std_msgs.msg import Float64

    beats: list[float] = []
    handled: list[float] = []
    slow, source = Node("slow", context=ros), Node("source", context=ros)
    slow.event_driven = True
    slow.create_timer(0.1, lambda: beats.append(time.monotonic()))
    slow.create_subscription(
        Float64, "number", lambda message: (handled.append(message.data), time.sleep(0.02)), 5
    )
    out = source.create_publisher(Float64, "number", 5)
    spinner = running.Spinner([slow, source])
    spinner.start()
    try:
        until(out.get_subscription_count)
        began = time.monotonic()
        for number in range(1200):  # 200 a second, of which a quarter can be done
            out.publish(Float64(data=float(number)))
            time.sleep(0.005)
        ended, newest = time.monotonic(), handled[-1]
    finally:
        spinner.stop()
    gaps = np.diff([began, *(beat for beat in beats if began < beat < ended), ended])
    assert gaps.max() < 3.0 and gaps[-5:].max() < 0.5
    assert newest > 1100, "old ones are left out"


def test_without_a_stderr_nodes_are_spun(ros: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rclpy.node import Node

    from emo_nodekit.running import Spinner

    node = Node("mouth", context=ros)
    node.event_driven = True
    beat = threading.Event()
    node.create_timer(0.01, beat.set)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        spinner = Spinner([node])
    spinner.start()
    assert beat.wait(5.0)
    spinner.stop()


STUCK = """
import sys, threading, time
from rclpy.node import Node
from emo_nodekit.running import run

class Stuck(Node):
    event_driven = True
    def __init__(self):
        super().__init__("stuck")
        self.create_timer(0.1, self.work)
    def work(self):
        print("stuck", flush=True)
        while True:
            time.sleep(0.01)

sys.exit(run(lambda: [Stuck()], ["stuck"]))
"""


def test_a_node_that_never_comes_back_keeps_nobody_from_ending() -> None:
    pytest.importorskip("rclpy")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ROS_DOMAIN_ID": "99"}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STUCK], env=environment, stdout=pipe) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20.0) == 0


def test_a_node_that_fails_to_end_keeps_no_other_from_it(ros: Any, running: Any) -> None:
    from rclpy.node import Node

    ended: list[str] = []

    class Worker(Node):
        def stop(self) -> None:
            ended.append(f"{self.get_name()} stops")
            if self.get_name() == "model":
                raise RuntimeError("the model fails")

        def destroy_node(self) -> None:
            name = self.get_name()
            super().destroy_node()
            ended.append(f"{name} is gone")
            if name == "camera":
                raise RuntimeError("the camera fails")

    names = ["driver", "model", "camera"]
    spinner = running.Spinner([Worker(name, context=ros) for name in names])
    spinner.start()
    with pytest.raises(RuntimeError, match="the model fails") as caught:
        spinner.stop()
    assert str(caught.value.__context__) == "the camera fails", "nothing is hushed up"
    assert ended == [f"{name} {what}" for name in names[::-1] for what in ("stops", "is gone")]
    assert not {thread.name for thread in threading.enumerate()} & set(names)
