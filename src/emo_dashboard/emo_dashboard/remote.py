"""What the page asks of other nodes: the e-stop, and parameters that change while they run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from std_srvs.srv import SetBool

from emo_core.errors import EmoError
from emo_motor_drivers.door import knock
from emo_nodekit.parameters import SUCH_AS

#: A driver that does not answer the graph so long is asked directly, where it runs here.
ESTOP_S = 0.4
#: Other nodes may be busy: a model that is loaded takes its time.
ANSWER_S = 5.0
POLL_S = 0.005
#: Every ROS node has it, and it is none of emo's.
_NOT_OURS = ("use_sim_time",)


@dataclass(frozen=True)
class Setting:
    """A parameter that a node takes over while it runs.

    Attributes:
        node: "/lipsync/normalization".
        value: now; bool, int, float or str.
        low, high: of a number; None: no bounds.
        choices: texts to choose from; empty: any.
    """

    node: str
    name: str
    value: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


class Remote:
    """Calls services of other nodes. Callable from any thread but the node's own.

    Args:
        node: spun by somebody else.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._idle, self._calls = threading.Condition(), 0
        place = node.get_namespace().rstrip("/")
        self._drivers = [f"{place}/{name}" for name in ("mouth_driver", "eye_driver")]
        for driver in self._drivers:  # known before they are needed
            self._client(SetBool, f"{driver}/estop")

    def estop(self, stop: bool) -> str:
        """Stop the robot's motors (or release them), whatever the pipelines do meanwhile.

        The drivers' service first: it tells this robot from others. Where none answers in time,
        every driver of this machine is stopped directly, as `./emo stop` does. None is released
        that way: another robot of the machine may have been stopped for somebody's sake.

        Returns:
            What the drivers say.

        Raises:
            EmoError: nobody did it.
        """
        said: list[str] = []
        failed: list[str] = []
        threads = [
            threading.Thread(target=self._ask_driver, args=(driver, stop, said, failed))
            for driver in self._drivers
        ]
        with self._under_way():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if stop and not said:
            for answer in knock(stop):
                good = getattr(answer, "done", False)
                (said if good else failed).append(getattr(answer, "message", f"{answer} is silent"))
        if said and not failed:
            return said[0]
        remedy = "run ./emo stop at the robot, or cut its power" if stop else (
            "run ./emo stop --release at the robot")  # fmt: skip
        raise EmoError(f"{'; '.join(failed) or 'no motor driver answers'}: {remedy}")

    def _ask_driver(self, driver: str, stop: bool, said: list[str], failed: list[str]) -> None:
        try:
            answer = self._call(SetBool, f"{driver}/estop", SetBool.Request(data=stop), ESTOP_S)
        except EmoError:
            return  # asked directly, if the other driver is silent, too: both have one e-stop
        (said if answer.success else failed).append(answer.message)

    def settings(self) -> list[Setting]:
        """The dynamic parameters of the robot's nodes, but for nodes that are silent."""
        found: list[Setting] = []
        with self._under_way():
            place = self._node.get_namespace().rstrip("/")
            for name, namespace in sorted(self._node.get_node_names_and_namespaces()):
                path = f"{namespace.rstrip('/')}/{name}"
                own = path == self._node.get_fully_qualified_name()
                if path.startswith(f"{place}/") and not own:
                    with contextlib.suppress(EmoError):
                        found += self._settings_of(path)
        return found

    def set(self, setting: Setting, value: Any) -> None:
        """Change a parameter.

        Raises:
            EmoError: the node refuses, and says why; or it is silent.
        """
        parameter = Parameter(setting.name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        with self._under_way():
            answer = self._call(SetParameters, f"{setting.node}/set_parameters", request, ANSWER_S)
        if not answer.results[0].successful:
            raise EmoError(answer.results[0].reason)

    def value(self, node: str, name: str) -> Any:
        """A parameter of a node.

        Raises:
            EmoError: there is no such node, or it is silent.
        """
        request = GetParameters.Request(names=[name])
        with self._under_way():
            answer = self._call(GetParameters, f"{node}/get_parameters", request, ANSWER_S)
        if not answer.values:
            raise EmoError(f"{node} has no parameter {name}")
        return parameter_value_to_python(answer.values[0])

    def _settings_of(self, node: str) -> list[Setting]:
        names = self._call(
            ListParameters, f"{node}/list_parameters", ListParameters.Request(), 1.0
        ).result.names
        descriptors = self._call(
            DescribeParameters,
            f"{node}/describe_parameters",
            DescribeParameters.Request(names=names),
            1.0,
        ).descriptors
        dynamic = [d for d in descriptors if not d.read_only and d.name not in _NOT_OURS]
        dynamic = [d for d in dynamic if d.type in _KINDS and "." not in d.name]
        if not dynamic:
            return []
        request = GetParameters.Request(names=[d.name for d in dynamic])
        values = self._call(GetParameters, f"{node}/get_parameters", request, 1.0).values
        return [
            _setting(node, descriptor, parameter_value_to_python(value))
            for descriptor, value in zip(dynamic, values, strict=True)
        ]

    def close(self) -> None:
        """No more calls: the node is about to be destroyed. Waits for those under way."""
        self._closed.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._calls, timeout=1.0)

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        with self._idle:
            if self._closed.is_set():
                raise EmoError("the dashboard ends")
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def _call(self, kind: type, service: str, request: Any, timeout_s: float) -> Any:
        deadline_s = time.monotonic() + timeout_s
        client = self._client(kind, service)
        self._wait(client.service_is_ready, deadline_s, f"{service}: nobody offers it")
        future = client.call_async(request)
        try:
            self._wait(future.done, deadline_s, f"{service} does not answer")
        except EmoError:
            client.remove_pending_request(future)
            raise
        return future.result()

    def _wait(self, condition: Callable[[], bool], deadline_s: float, complaint: str) -> None:
        while not condition():
            if self._closed.wait(POLL_S) or time.monotonic() > deadline_s:
                raise EmoError(complaint)

    def _client(self, kind: type, service: str) -> Client:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._node.create_client(kind, service)
            return self._clients[service]


_KINDS = (
    ParameterType.PARAMETER_BOOL,
    ParameterType.PARAMETER_INTEGER,
    ParameterType.PARAMETER_DOUBLE,
    ParameterType.PARAMETER_STRING,
)


def _setting(node: str, descriptor: ParameterDescriptor, value: Any) -> Setting:
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    texts = descriptor.additional_constraints.removeprefix(SUCH_AS)
    choices = [text for text in texts.split(" | ") if text]
    if choices and value not in choices:
        choices.append(value)
    return Setting(
        node=node,
        name=descriptor.name,
        value=value,
        description=descriptor.description,
        low=ranges[0].from_value if ranges else None,
        high=ranges[0].to_value if ranges else None,
        choices=tuple(choices),
    )
