"""A recording through the live nodes again: the same messages in, compared with what came out."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from emo.consumed import unread
from emo.graph import Process, build_graph, kept_files
from emo.options import BOTH, GraphOptions
from emo_core.bag import Bag, BagWriter, Raw, Topic
from emo_core.bag.definitions import bare, definition
from emo_core.bag.provenance import differences, origin
from emo_core.errors import EmoError
from emo_core.face.static_face import KeptFace
from emo_core.pipelines import COMMANDS, PIPELINES, readers
from emo_core.robot.portable import ROBOT, is_same

#: Options of the graph that can be other than recorded: where the recording is, and what its nodes
#: make of it. All others are of what a replay does without: devices, files, pages, a recorder.
SETTINGS = (
    "lookahead", "mouth_gain", "static_face", "predict", "faces", "person", "robot", "namespace",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is fed, and which nodes work on it.

    Attributes:
        options: of the graph.
        fed: the topic fed, of each pipeline, relative to the robot.
        nodes: the entries of the graph that run.
    """

    options: GraphOptions
    fed: dict[str, str]
    nodes: list[Process]

    def name(self, topic: str) -> str:
        """A topic's full name."""
        place = self.options.namespace.strip("/")
        return f"/{place}/{topic}" if place else f"/{topic}"


def recorded_options(bag: Bag) -> GraphOptions:
    """The options of the graph that was recorded, as far as this version knows them.

    Faces at rest are those in the recording; of an older one, which holds none, those of its paths.
    """
    try:
        values = json.loads(bag.info.get("graph") or "{}")
        copies = json.loads(bag.info.get("kept") or "{}")
    except json.JSONDecodeError as error:
        raise EmoError(f"{bag.path}: what it says of its graph cannot be read ({error})") from error
    if not isinstance(values, dict) or not isinstance(copies, dict):
        raise EmoError(f"{bag.path}: what it says of its graph is damaged")
    known = {option.name: option for option in fields(GraphOptions)}
    values = {name: value for name, value in values.items() if name in known}
    for name, value in values.items():
        choices = known[name].metadata.get("choices", (value,))
        if not isinstance(value, type(known[name].default)) or value not in choices:
            raise EmoError(f"{bag.path}: its graph had {name} {value!r}, which cannot be")
    options = GraphOptions(**values)

    def kept(path: str) -> Path | None:
        name = str(copies.get(path, ""))
        return bag.unpacked / name if name in bag.attached else None

    if face := kept(options.static_face):
        options = replace(options, static_face=str(face))
    if person := kept(str(KeptFace(options.faces, options.person).path)):
        options = replace(options, faces=str(person.parent))
    return options


def recorded_robot(bag: Bag, options: GraphOptions) -> str:
    """`options.robot` where this machine's is the recorded one, else the recorded one's file.

    A recording that holds none (an older one) is replayed with this machine's.
    """
    if ROBOT not in bag.attached or is_same(bag.attached, options.robot):
        return options.robot
    return str(bag.unpacked / ROBOT)


def changed(options: GraphOptions, settings: Iterable[str]) -> GraphOptions:
    """The options with some of them set, each as `name=value`.

    Raises:
        EmoError: an option that changes nothing, or not such a value.
    """
    known = {option.name: option for option in fields(GraphOptions) if option.name in SETTINGS}
    types: dict[str, type[Any]] = {name: type(option.default) for name, option in known.items()}
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name not in types or not equals:
            raise EmoError(
                f"--with {setting}: give OPTION=VALUE, OPTION one of {', '.join(SETTINGS)}"
            )
        try:
            values[name] = _truth(text) if types[name] is bool else types[name](text)
        except ValueError:
            raise EmoError(f"--with {setting}: {text} is no {types[name].__name__}") from None
        except KeyError:
            raise EmoError(f"--with {setting}: {text} is neither true nor false") from None
        choices = known[name].metadata.get("choices")
        if choices and text not in choices:
            raise EmoError(f"--with {setting}: give one of {', '.join(choices)}")
    return replace(options, **values)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def plan(bag: Bag, options: GraphOptions, start: str, out: str) -> Plan:
    """Which nodes a replay takes.

    Args:
        start: the topic to feed; empty: the first of each pipeline in the recording.
        out: folder for the nodes' own records; empty: none.

    Raises:
        EmoError: the recording does not hold what is to be fed.
    """
    # The camera stays as recorded: who was on film is not greeted now, either.
    options = replace(
        options, out=out, record=False, view=False, port=0, use_sim_time=False, source="topic"
    )
    place = f"/{options.namespace.strip('/')}/" if options.namespace.strip("/") else "/"
    held = {name.removeprefix(place) for name in bag.log_ns}
    fed: dict[str, str] = {}
    for pipeline in PIPELINES:
        inputs = list(readers(pipeline))
        wanted = [start.removeprefix(place).lstrip("/")] if start else inputs
        topic = next((each for each in wanted if each in inputs and each in held), None)
        if topic is not None:
            fed[pipeline] = topic
    if not fed:
        known = ", ".join(topic for pipeline in PIPELINES for topic in readers(pipeline))
        raise EmoError(
            f"{bag.path} does not hold {start or 'any input of a pipeline'} (in /{place.strip('/')}"
            f"): give --from one of {known}"
        )
    options = replace(options, pipeline=BOTH if len(fed) > 1 else next(iter(fed)))
    nodes = []
    for pipeline, topic in fed.items():
        stages = PIPELINES[pipeline]
        first = list(readers(pipeline)).index(topic)
        for executable in [stage.node for stage in stages[first:]]:
            nodes += [entry for entry in build_graph(options) if _is(entry, executable, pipeline)]
    return Plan(options, fed, nodes)


def live(bag: Bag, options: GraphOptions, start: str) -> list[Process]:
    """The graph that shows a recording on the robot: player, the nodes of `plan`, and the robot.

    In real time, as if it happened now. What was heard then is heard in the film.

    Args:
        options: of the robot, its view and `out`.
    """
    chosen = plan(bag, options, start, options.out)
    played = [chosen.name(topic) for topic in chosen.fed.values()]
    heard = chosen.name("audio_played")
    is_heard = heard in bag.log_ns
    graph = []
    for entry in build_graph(replace(chosen.options, view=options.view)):
        if entry.executable in _ROBOT or any(_same(entry, node) for node in chosen.nodes):
            if entry.executable == "robot_view" and is_heard:
                entry = replace(entry, remappings=())
                played.append(heard)
            graph.append(entry)
    player = Process(
        package="emo_recorder",
        executable="player",
        node_name="player",
        namespace=options.namespace.strip("/"),
        parameters={
            "bag": str(bag.path.resolve()),
            "topics": played,
            "wait_for": [*played, "motor_command"],
        },
    )
    return [*graph, player]


#: What shows a pipeline's commands.
_ROBOT = ("robot_view", "drivers", "arbiter")


def _same(one: Process, other: Process) -> bool:
    return (one.executable, one.namespace) == (other.executable, other.namespace)


def _is(entry: Process, executable: str, pipeline: str) -> bool:
    """Whether an entry is a pipeline's: two of the executables run once for each."""
    shared = executable in ("normalization", "inverse_model")
    own = entry.namespace.split("/")[-1] == pipeline
    return entry.executable == executable and (own or not shared)


def inputs(bag: Bag, chosen: Plan) -> Iterable[Raw]:
    """The messages to feed, in their order."""
    return bag.messages([chosen.name(topic) for topic in chosen.fed.values()])


def reasons(bag: Bag, chosen: Plan) -> list[str]:
    """Why a replay may differ, in words: what changed since the recording, or during it."""
    found = differences(bag.info)
    nodes = {f"/{entry.namespace}/{entry.executable}".replace("//", "/") for entry in chosen.nodes}
    for raw in bag.messages(["/parameter_events"]):
        event = bag.decode(raw)
        names = ", ".join(each.name for each in event.changed_parameters)
        if names and event.node in nodes:
            found.append(f"{names} of {event.node} changed while it was recorded")
    return found


def prefixes() -> list[Path]:
    """Where messages are installed."""
    return [Path(each) for each in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep) if each]


def check_types(bag: Bag, topics: Iterable[str]) -> None:
    """The recorded messages must be the ones this version has.

    Raises:
        EmoError: a definition has changed since the recording.
    """
    for topic in topics:
        recorded = bag.topic(topic).definition
        if recorded and bare(recorded) != bare(definition(bag.types[topic], prefixes())):
            raise EmoError(
                f"{bag.path} was recorded with another {bag.types[topic]} than this version has: "
                "replay it with the version that recorded it, or from a later topic"
            )


class Results:
    """Takes what a replay makes: the commands, and everything as a recording of its own.

    A message of that recording has the time of the input that set it off: two replays of the same
    input differ in nothing but `stage_ms`.

    Args:
        folder: of the recording; None: none is made.

    Attributes:
        commands: topic -> MotorCommands of each pipeline that is replayed.
    """

    def __init__(self, bag: Bag, chosen: Plan, folder: Path | None) -> None:
        self.commands: dict[str, list[Any]] = {
            chosen.name(COMMANDS[pipeline]): [] for pipeline in chosen.fed
        }
        self._bag = bag
        self._writer: BagWriter | None = None
        if folder is not None:
            options = chosen.options
            made_by = origin(json.dumps(asdict(options)), options.robot, kept_files(options))
            self._writer = BagWriter(folder, made_by.info, files=made_by.files)
        self._topics: dict[str, Topic] = {}
        self._now_ns = 0

    def feed(self, raw: Raw) -> None:
        """The message that comes next to the nodes."""
        self._now_ns = raw.log_ns
        if self._writer is None:
            return
        if raw.topic not in self._topics:
            self._topics[raw.topic] = self._bag.topic(raw.topic)
        self._writer.write(self._topics[raw.topic], raw.log_ns, raw.publish_ns, 0, raw.data)

    def add(self, topic: str, message: Any) -> None:
        """What a node published."""
        if topic in self.commands:
            self.commands[topic].append(message)
        if self._writer is None:
            return
        from rclpy.serialization import serialize_message

        if topic not in self._topics:
            kind = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
            self._topics[topic] = Topic(topic, kind, definition(kind, prefixes()))
        data = serialize_message(message)
        self._writer.write(self._topics[topic], self._now_ns, self._now_ns, 0, data)

    def close(self) -> None:
        """Put everything on disk."""
        if self._writer is not None:
            self._writer.close()


def run(
    chosen: Plan,
    messages: Iterable[Raw],
    bag: Bag,
    results: Results,
    rate: float,
    stopped: Callable[[], bool],
) -> float:
    """Feed the messages to the nodes and wait until everything is handled.

    Args:
        bag: where they come from, which tells what the recorded run lost on its way.
        results: takes what is fed, and what the nodes publish.
        rate: times real time; 0: as fast as the nodes can.
        stopped: whether to end early.

    Returns:
        Seconds it took, without the nodes' start.

    Raises:
        EmoError: a node cannot start, or a message was lost.
    """
    from rclpy.node import Node

    from emo.composed import Composed
    from emo.lockstep import Lockstep
    from emo_nodekit import qos
    from emo_recorder.offered import message_class

    composed = Composed(chosen.nodes)
    feeder = Node("replay", namespace=chosen.options.namespace)
    with contextlib.ExitStack() as stack:
        stack.callback(feeder.destroy_node)
        stack.push(composed)  # ended with it; its own threads are not started
        publishers = {}
        for topic in chosen.fed.values():
            kind = message_class(bag.types[chosen.name(topic)])
            publishers[chosen.name(topic)] = feeder.create_publisher(kind, topic, qos.STREAM)
        lockstep = Lockstep([feeder], composed.nodes, results.add, unread(bag, chosen.name("")))
        _await_listeners(publishers.values(), stopped)
        started, first_ns = time.monotonic(), None
        for raw in messages:
            first_ns = raw.log_ns if first_ns is None else first_ns
            due = started + (raw.log_ns - first_ns) * 1e-9 / rate if rate else 0.0
            while (left := due - time.monotonic()) > 0 and not stopped():
                time.sleep(min(left, 0.1))
            if stopped():
                break
            results.feed(raw)
            publishers[raw.topic].publish(raw.data)
            lockstep.settle()
        return time.monotonic() - started


def _await_listeners(publishers: Iterable[Any], stopped: Callable[[], bool]) -> None:
    for publisher in publishers:
        deadline = time.monotonic() + 30.0
        while not publisher.get_subscription_count() and not stopped():
            if time.monotonic() > deadline:
                raise EmoError(f"nobody listens to {publisher.topic_name} within 30 s")
            time.sleep(0.01)
