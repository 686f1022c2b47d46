"""The one owner of a robot's servo bus and of its safety layer, shared by the drivers. No ROS.

Safety lives in real time (monotonic), also where the graph runs on simulated time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import HOMING_LIMIT_S, SafetyLayer
from emo_motor_drivers.care import SILENCE, Care
from emo_motor_drivers.claim import Claim
from emo_motor_drivers.claimed import Owner
from emo_motor_drivers.pace import STEP_S, Pace

#: Who reads waits so long for a command to take its turn.
HANDOVER_S = 0.0005
#: The servos' own watchdog, in watchdog times of the robot: a hiccup of this host must not trip it.
HOST_WATCHDOG = 2.0
#: A lost line is tried again after FIRST_DELAY_S, and after twice as long each time.
FIRST_DELAY_S, LONGEST_DELAY_S = 0.2, 5.0
#: One driver may be so many commands ahead of the other: more than their queues hold.
RECENT = 32
#: News that nobody fetched is forgotten from this many on.
NEWS = 100

BROKEN = "the servo thread broke down: restart the drivers, and report this"
TROUBLE = (EmoError, OSError)


@dataclass(frozen=True)
class Written:
    """One write to the bus.

    Attributes:
        time_s: monotonic seconds, after the write.
        positions: (M,) what was sent.
        reasons: (M,) bits of `emo_core.robot.safety.Reason`: why it is not the command.
    """

    time_s: float
    positions: NDArray[np.float64]
    reasons: NDArray[np.int64]


class Head:
    """A robot's servos. Every call is safe from any thread.

    A command is written when it arrives; from then on a thread goes on towards it every 10 ms (more
    slowly on a slow line), or to neutral when it is too old. Steps that follow the commands do not
    get in the way of the next one, where the pipeline shares this process. What time the line has
    left goes into reading, one servo at a time, and no more while a command waits.

    A line that fails is opened again, with back-off; the servos are taken up, gently, from where
    they are, or from what was sent last where they cannot tell.

    Args:
        description: the robot.
        bus: its bus; made from the description if not given.
        owner: of the servos, for `./emo stop`; None: it finds them not.

    Attributes:
        listeners: called after each step of the thread with what was written, None if nothing.
        fault: what the bus said last, if it does not work.
        limp: whether all servos were told to have no torque (those of a lost line keep theirs), or
            never had any.
        news: lines for the operator; take them out.
        own_watchdog: how long the servos themselves wait for this process before they act; "none".
    """

    def __init__(
        self,
        description: RobotDescription,
        bus: ServoBus | None = None,
        owner: Owner | None = None,
    ) -> None:
        self.description, self._owner = description, owner
        self._bus = make_bus(description) if bus is None else bus
        self._safety = SafetyLayer(description)
        self.news: deque[str] = deque(maxlen=NEWS)
        self.care = Care(description, self._bus, self._safety, self.news.append)
        self._life = threading.RLock()  # of who opens, activates, deactivates and closes
        self._lock = threading.Lock()  # of bus and safety layer, while the line works
        self._claim: Claim | None = None
        self._opened = False
        self._live = False  # the line works, and the servos were taken up
        self.limp = True
        self._users: set[str] = set()  # groups whose driver has opened the bus
        self._groups: set[str] = set()  # groups that may move
        self._torque = False
        self.fault = ""
        self.own_watchdog = "none"
        self.listeners: list[Callable[[Written | None], None]] = []
        self._pace = Pace(self._bus)
        self._hurry = False  # a command waits for the line
        self._delay_s = FIRST_DELAY_S
        self._stepping: threading.Thread | None = None
        self._stop = threading.Event()
        self._recent: OrderedDict[object, Written | None] = OrderedDict()

    @property
    def torque_on(self) -> bool:
        """Whether the servos hold their positions, as far as is known: not over a lost line.

        Whether they were let go, `limp` says; if neither is so, nobody knows.
        """
        return self._torque

    @property
    def lost(self) -> bool:
        """Whether the line does not work, and is opened again and again."""
        return self._stepping is not None and not self._live and self.fault != BROKEN

    @property
    def estopped(self) -> bool:
        """Whether the e-stop is set."""
        return self._safety.estopped

    @property
    def trouble(self) -> str:
        """Why nothing moves, in words; "" if it does."""
        stopped = ""
        if self.estopped:
            why = "" if self._claim is None else self._claim.marked
            stopped = f"e-stop is set{why and f' ({why})'}: ./emo stop --release"
        return "; ".join(filter(None, (stopped, self.fault)))

    @property
    def guarantee(self) -> str:
        """What the servos do on their own when this process falls silent."""
        return self._bus.guarantee

    # -- life --------------------------------------------------------------------------------

    def open(self, group: str) -> None:
        """Open the bus for a group's driver, once for all; nothing moves.

        Raises:
            EmoError: the port cannot be opened, or another process owns it.
        """
        with self._life:
            self._open()
            self._users.add(group)

    def activate(self, group: str) -> None:
        """Let a group of motors move; with the first one torque comes on, from where they are.

        Raises:
            EmoError, OSError: the bus does not work; nothing has changed.
        """
        with self._life:
            if self._stepping is None:
                try:
                    self._open()
                    self._take_up()
                except TROUBLE:
                    self._shut()
                    raise
                self._stop.clear()
                self._stepping = threading.Thread(target=self._run, name="head", daemon=True)
                self._stepping.start()
            with self._lock:
                self._groups.add(group)

    def deactivate(self, group: str) -> None:
        """The last group to leave brings the face to neutral, and then torque off."""
        with self._life:
            with self._lock:
                self._groups.discard(group)
                if self._groups or self._stepping is None:
                    return
                self._safety.home()
            give_up = time.monotonic() + self.description.watchdog.ease_s + HOMING_LIMIT_S
            while self._torque and not self._safety.at_neutral and time.monotonic() < give_up:
                time.sleep(STEP_S)
            self._stop.set()
            self._stepping.join()
            self._stepping = None
            try:
                if self._live:
                    self._switch(False)
            except TROUBLE as error:  # unplugged: nothing more can be done
                self.fault = str(error)
            self._live = self._torque = False

    def close(self, group: str) -> None:
        """A driver leaves; the last one gives the port back."""
        with self._life:
            self.deactivate(group)
            self._users.discard(group)
            if not self._users:
                self._shut()
                if self._claim is not None:
                    self._claim.release(self.limp)
                    self._claim = None

    def _open(self) -> None:
        if self._claim is None:
            self._claim = Claim(self.description, self._owner)
            self.limp = self._claim.limp
            if self._claim.marked:
                self._safety.estop()
                self.news.append(f"{self.trouble}. Nothing moves until then")
        if not self._opened:
            try:
                self._bus.open()
            except TROUBLE:
                self._shut()
                raise
            self._opened = True

    def _shut(self) -> None:
        self._bus.close()
        self._opened = False

    def _take_up(self) -> None:
        """Torque on, gently, from where the servos are. Nobody else uses the bus yet."""
        assert self._claim is not None
        timeout_s = HOST_WATCHDOG * self.description.watchdog.timeout_s
        armed = self._bus.arm_watchdog(timeout_s)
        self.own_watchdog = f"{timeout_s:g} s" if armed else "none"
        read = self._bus.read()
        if self._bus.tells_position and not np.isfinite(read).any():
            raise BusError(SILENCE)
        with self._lock:
            if self._bus.tells_position:
                self.care.seen(read, time.monotonic())
            # From what was sent last where nobody can tell; else from neutral.
            self._safety.reset(np.where(np.isfinite(read), read, self._claim.positions))
            self._switch(not self._safety.estopped)
            self._live, self.fault, self._delay_s = True, "", FIRST_DELAY_S

    def _switch(self, on: bool) -> None:
        """Torque of all motors but those that rest without it."""
        limp = self.care.limp
        awake = [i for i in range(len(self.description.motors)) if i not in limp]
        self.limp = False  # until all are told
        self._bus.torque(on, awake if on and limp else None)
        self._torque, self.limp = on, not on

    # -- commands ----------------------------------------------------------------------------

    def command(self, positions: Mapping[str, float], key: object = None) -> Written | None:
        """Write a command at once, within what is safe. None while nothing may move.

        Motors of groups that are not active are left out. A command with the `key` of a recent one
        is the same one, come to another driver: it was written already.

        Raises:
            RuntimeError: the thread broke down; nothing moves any more.
        """
        self._hurry = True  # who reads leaves the line to us
        with self._lock:
            self._hurry = False
            if self.fault == BROKEN:
                raise RuntimeError(BROKEN)
            if not self._groups or not self._live:
                return None
            if key is not None and key in self._recent:
                return self._recent[key]
            mine = {
                motor.name: positions[motor.name]
                for motor in self.description.motors
                if motor.group in self._groups and motor.name in positions
            }
            written = self._write(mine)
            if key is not None:
                self._recent[key] = written
                if len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
            return written

    def measured(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M,) where the motors were seen last, NaN if never; (M,) monotonic seconds of that.

        Where a bus cannot tell, what was sent last.
        """
        with self._lock:
            return self.care.positions.copy(), self.care.times_s.copy()

    def estop(self) -> None:
        """Brake everything, then torque off; stays so until `release`."""
        self._hurry = True
        with self._lock:
            self._hurry = False
            self._safety.estop()
            if self._live:
                self._write(None)
        if self._claim is not None:
            with contextlib.suppress(OSError):  # a full disk: it lasts as long as this process
                self._claim.mark()
        if self.fault == BROKEN:
            raise EmoError(BROKEN)

    def release(self) -> None:
        """Leave the e-stop: torque on again, gently, from where the servos are.

        Raises:
            EmoError, OSError: the bus does not work; the e-stop stays set.
        """
        with self._lock:
            if not self._safety.estopped:
                return
            if self._stepping is not None:
                if not self._live:
                    raise BusError(self.fault)
                read = self._bus.read()
                self._safety.reset(np.where(np.isfinite(read), read, self._safety.positions))
                self._switch(True)
            if self._claim is not None:
                self._claim.unmark()
            self._safety.release()

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._go_on()
        finally:
            if not self._stop.is_set():  # a mistake of ours; whoever commands next hears of it
                self.fault, self._live = BROKEN, False

    def _go_on(self) -> None:
        written, untold = None, False
        while not self._stop.is_set():
            if not self._live:
                self._mend()
                continue
            now_s = time.monotonic()
            look_s = self._pace.look_at(now_s)
            if now_s >= self._pace.due_s:
                with self._lock:
                    if self._live and time.monotonic() >= self._pace.due_s:
                        written, untold = self._write(None), True
            elif now_s >= look_s and not self._hurry:
                self._look()
            elif untold:
                untold = False
                self._tell(written)
            else:
                wake_s = now_s + HANDOVER_S if now_s >= look_s else min(look_s, self._pace.due_s)
                self._stop.wait(wake_s - now_s)

    def _look(self) -> None:
        """One question to one servo."""
        with self._lock:
            if not self._live:
                return
            try:
                more = self.care.look(time.monotonic(), self._torque)
            except TROUBLE as error:
                self._lost(error)
                return
        self._pace.looked(more)

    def _mend(self) -> None:
        """The line is lost: try again, a little later each time."""
        self._tell(None)
        if self._stop.wait(self._delay_s):
            return
        self._delay_s = min(2.0 * self._delay_s, LONGEST_DELAY_S)
        try:
            self._shut()
            self._open()
            self._take_up()
        except TROUBLE as error:
            self.fault = str(error)
            return
        self.news.append("the servos answer again: taken up from where they are")

    def _lost(self, error: Exception) -> None:
        self._live = self._torque = False
        self.fault = str(error)
        self.news.append(f"servo line lost: {error}. Trying again")

    def _tell(self, written: Written | None) -> None:
        for listener in list(self.listeners):
            listener(written)

    def _write(self, command: Mapping[str, float] | None) -> Written | None:
        assert self._claim is not None
        began_s = self._pace.begin()
        sent = self._safety.step(command, began_s)
        try:
            if not sent.torque:
                if self._torque:
                    self._switch(False)
                return None
            positions = self._bus.write(sent.positions)
        except TROUBLE as error:
            self._lost(error)
            return None
        self._pace.written(began_s)
        np.copyto(self._claim.positions, positions, where=np.isfinite(positions))
        self.care.sent(positions, began_s)
        return Written(time.monotonic(), positions, sent.reasons)
