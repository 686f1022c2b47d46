"""What the dashboard costs: the same graph without it, with it, and with browsers that look."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from emo.bench.live import EMO, run
from emo.bench.usage import Usage
from emo.options import BOTH
from emo.ros_domain import domain_environment
from emo.ros_setup import sourced_distro
from emo_core.errors import EmoError

WITHOUT, UNSEEN = "without", "with it, nobody looks"
AFAR, SEEN = "with it, looked at from elsewhere", "with it, a browser here draws it"
WAYS = (WITHOUT, UNSEEN, AFAR, SEEN)
#: A page, or a browser on it, may take so long to be there.
PATIENCE_S = 60.0
#: The browser of this machine, or None.
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
NO_BROWSER = "no Chromium that could look at the dashboard: sudo apt install chromium"
#: Reads what a browser on another computer is sent.
FAR_BROWSER = [sys.executable, "-m", "emo.bench.far_browser"]
#: Processes are looked at so often: rarely, for the looking costs, too.
_PERIOD_S = 1.0
_ESTABLISHED = "01"


def browser_command(profile: Path) -> list[str]:
    """Command line of a headless browser that draws with the CPU; the address comes after it.

    Raises:
        EmoError: there is none.
    """
    if BROWSER is None:
        raise EmoError(NO_BROWSER)
    return [
        BROWSER, "--headless=new", "--no-sandbox", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", f"--user-data-dir={profile}", "--window-size=1500,1000",
    ]  # fmt: skip


@dataclass
class _Beside:
    """A process beside the graph: what it uses, and what it said so far."""

    process: subprocess.Popen[str]
    usage: Usage
    said: list[str]
    listener: threading.Thread

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Until it does what it is there for.

        Raises:
            EmoError: it ended, or takes too long.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.listener.join(timeout=1.0)
                said = self.said[-1] if self.said else "it said nothing"
                raise EmoError(f"{what} is not there: {said}")
            time.sleep(0.1)


def measure(
    speech: Path, video: Path, folder: Path, rounds: int, processes: bool = False
) -> Iterator[dict[str, Any]]:
    """Both pipelines, `rounds` times in each of `WAYS`, in turns; after each round, what is known.

    An operator's browser draws on another computer: `AFAR` reads what such a one is sent. `SEEN`
    has it drawn with this machine's processor, at the lowest priority; it is left out where there
    is no browser.

    Yields:
        `rounds` so far; `ways`: way -> `p95_ms`: pipeline -> figure of each round, `dropped`:
        frames in all, `dashboard_cores`, `browser_cores`: kept busy in each round; `ratios`: way ->
        pipeline -> `median`, `least`, `most` of p95 over the same round's without it.

    Raises:
        EmoError: a graph or the dashboard failed.
    """
    domain = domain_environment(os.environ, sourced_distro(Path(sys.prefix)))
    environment = {**os.environ, **domain}
    # The page is there before any graph: it must be told where that will be.
    environment["ROS_DOMAIN_ID"] = environment.get("ROS_DOMAIN_ID") or "0"
    ways: dict[str, Any] = {
        way: {"p95_ms": {}, "dropped": 0, "dashboard_cores": [], "browser_cores": []}
        for way in WAYS
        if way != SEEN or BROWSER is not None
    }
    for number in range(rounds):
        for way, figures in ways.items():
            _turn(way, figures, speech, video, folder / "dashboard", processes, environment)
        before = ways[WITHOUT]["p95_ms"]
        ratios = {
            way: {name: _spread(p95_ms, before[name]) for name, p95_ms in each["p95_ms"].items()}
            for way, each in ways.items()
            if way != WITHOUT
        }
        yield copy.deepcopy({"rounds": number + 1, "ways": ways, "ratios": ratios})


def _spread(values: list[float], without: list[float]) -> dict[str, float]:
    ratios = [value / base for value, base in zip(values, without, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def _turn(
    way: str,
    figures: dict[str, Any],
    speech: Path,
    video: Path,
    out: Path,
    processes: bool,
    environment: Mapping[str, str],
) -> None:
    with contextlib.ExitStack() as stack:
        page = browser = None
        if way != WITHOUT:
            page, address = stack.enter_context(_page(environment))
            if way in (AFAR, SEEN):
                browser = stack.enter_context(_browser(address, draws=way == SEEN))
        began_s = time.time()
        result = run(BOTH, speech, video, out, processes, environment=environment)
    for name, each in result["pipelines"].items():
        figures["p95_ms"].setdefault(name, []).append(each["end_to_end_ms"]["p95"])
        figures["dropped"] += each["dropped"]
    span = [began_s + at_s for at_s in result["commands_s"]]
    for name, beside in (("dashboard_cores", page), ("browser_cores", browser)):
        if beside is not None:
            figures[name].append(sum(beside.usage.cores(*span).values()))


@contextlib.contextmanager
def _page(environment: Mapping[str, str]) -> Iterator[tuple[_Beside, str]]:
    """The dashboard and its address."""
    with _watched([*EMO, "dashboard", "--no-browser", "--robot", "sim"], environment) as page:
        page.wait(lambda: _address(page.said), "the dashboard")
        yield page, _address(page.said)


def _address(said: list[str]) -> str:
    return next((found[0] for line in said if (found := re.findall(r"http://\S+", line))), "")


@contextlib.contextmanager
def _browser(address: str, draws: bool) -> Iterator[_Beside]:
    """A browser that has the page open."""
    port = int(address.rstrip("/").rpartition(":")[2])
    with tempfile.TemporaryDirectory(prefix="emo-browser-", ignore_cleanup_errors=True) as profile:
        program = browser_command(Path(profile)) if draws else FAR_BROWSER
        command = ["nice", "-n", "19", *program, address]
        with _watched(command, os.environ) as browser:
            browser.wait(lambda: _looked_at(port), "the browser")
            yield browser


def _looked_at(port: int) -> bool:
    """Whether somebody is connected to a TCP port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    places = [(fields[1], fields[3]) for fields in map(str.split, lines)]
    return any(place.endswith(f":{port:04X}") and state == _ESTABLISHED for place, state in places)


@contextlib.contextmanager
def _watched(command: list[str], environment: Mapping[str, str]) -> Iterator[_Beside]:
    """A process and all that it starts, ended with the block."""
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    assert process.stderr is not None
    try:
        with Usage(process.pid, _PERIOD_S) as usage:
            said: list[str] = []
            listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
            listener.start()
            yield _Beside(process, usage, said, listener)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listen(lines: Iterable[str], said: list[str]) -> None:
    for line in lines:
        said.append(line.strip())
