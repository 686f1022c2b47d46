"""The command line: one table of commands, one way to report errors."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from emo.bootstrap import SetupError
from emo_core import __version__
from emo_core.errors import EmoError
from emo_core.lipsync import MAX_MOUTH_GAIN
from emo_core.robot import DEFAULT_ROBOT

#: Subcommand -> (module with `add_arguments(parser)` and `run(args) -> int`, one line of help).
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("emo.cli.demo", "a bundled sentence spoken by the simulated robot: start here"),
    "lipsync": ("emo.cli.lipsync", "the live ROS graph: a recording or the microphone to the face"),
    "mimic": ("emo.cli.mimic", "the live ROS graph: a video or the camera to expressions"),
    "run": ("emo.cli.run", "the live ROS graph: lip-sync and mimicry at once"),
    "replay": ("emo.cli.replay", "a recording through the live nodes again, and compared"),
    "bag": ("emo.cli.bag", "what is in a recording: rates, gaps, latency, plots, film"),
    "animate": ("emo.cli.animate", "offline: a recording to landmarks, motor commands and video"),
    "track": ("emo.cli.track", "a face in a video to landmarks"),
    "babble": ("emo.cli.babble", "motor babbling: what each motor does to the face"),
    "dashboard": ("emo.cli.dashboard", "a running graph in a browser, motors by hand, e-stop"),
    "top": ("emo.cli.top", "health of a running graph: rates, latency, drops, CPU, memory"),
    "stop": ("emo.cli.stop", "e-stop: every robot of this machine brakes and lets go"),
    "calibrate": ("emo.cli.calibrate", "limits, neutral pose, direction and latency of each motor"),
    "eval": ("emo.cli.eval", "measure the models against real recordings"),
    "bench": ("emo.cli.bench", "how fast, how much memory, how steady: one report"),
    "data": ("emo.cli.data", "prepare recordings for training"),
    "train": ("emo.cli.train", "train the models"),
    "docs": ("emo.cli.docs", "the documentation as a site"),
    "doctor": ("emo.cli.doctor", "what is here, what is missing, and what to do about it"),
    "test": ("emo.cli.test", "lint, types and tests"),
}  # fmt: skip

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that reports figures."""
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def add_robot(parser: argparse.ArgumentParser) -> None:
    """The option of every command that needs a robot."""
    parser.add_argument(
        "--robot",
        default=DEFAULT_ROBOT,
        metavar="NAME|FILE",
        help=f"a name in config/robots, or a robot's YAML file (default: {DEFAULT_ROBOT})",
    )


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """The option of every command that makes or joins a graph."""
    parser.add_argument("--namespace", type=namespace, default="", help="the robot's namespace")


def namespace(text: str) -> str:
    """The type of --namespace: ROS names with / between them."""
    name = text.strip("/")
    if name and not all(re.fullmatch(r"[A-Za-z_]\w*", part, re.ASCII) for part in name.split("/")):
        raise argparse.ArgumentTypeError(f"'{text}' is no name of letters, digits and _")
    return name


def mouth_gain(text: str) -> float:
    """The type of --mouth-gain."""
    value = float(text)  # argparse turns ValueError into one line
    if not 0.0 <= value <= MAX_MOUTH_GAIN:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_MOUTH_GAIN:g}")
    return value


def checkout() -> Path | None:
    """Root of the checkout this file lies in; None where it is an installed package."""
    root = Path(__file__).resolve().parents[4]
    return root if (root / "requirements" / "base.txt").is_file() else None


def repository() -> Path:
    """As `checkout`, for commands that need one.

    Raises:
        EmoError: there is none.
    """
    root = checkout()
    if root is None:
        raise EmoError("this command needs a checkout of emo: clone it, and run ./emo there")
    return root


def ensure(requirements: str, why: str) -> None:
    """Install requirements/<requirements>.txt at its first use, in a checkout.

    Raises:
        SetupError: it cannot be installed.
    """
    from emo.bootstrap import ensure_requirements

    root = checkout()
    if root is not None:
        ensure_requirements(root, requirements, why)


def make_parser(command: str | None) -> tuple[Parser, types.ModuleType | None]:
    """The parser of one command and its module, or the table of all of them and None."""
    if command is not None:
        module_name, _ = COMMANDS[command]
        module = importlib.import_module(module_name)
        parser = Parser(
            prog=f"emo {command}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument(
            "--debug", action="store_true", help="on an error, show the whole traceback"
        )
        module.add_arguments(parser)
        return parser, module
    lines = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    parser = Parser(
        prog="emo",
        description="An animatronic face that speaks and mimics: sound and images in, motion out."
        "\n\n"
        "commands:\n" + "\n".join(lines),
        epilog="emo COMMAND --help tells more; emo COMMAND --debug shows tracebacks.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="emo [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"emo {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser, None


def _one_line(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """The hook for what nobody foresaw: one line, and where to see more."""
    if issubclass(kind, KeyboardInterrupt):  # C code that was imported prints it; `main` says it
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    text = " ".join(str(error).split())
    print(
        f"emo: internal error: {kind.__name__}: {text} ({where}). "
        "Run again with --debug for the traceback",
        file=sys.stderr,
    )


class _Interrupt:
    """Ctrl-C, remembered: an extension module that is being imported makes an ImportError of it."""

    def __init__(self) -> None:
        self.seen = False
        self._before = signal.getsignal(signal.SIGINT)
        if self._before in (signal.default_int_handler, signal.SIG_DFL):  # else a shell ignores it
            signal.signal(signal.SIGINT, self._remember)

    def _remember(self, number: int, frame: types.FrameType | None) -> NoReturn:
        self.seen = True
        signal.default_int_handler(number, frame)

    def forget(self) -> None:
        """Ctrl-C does what it did before."""
        if signal.getsignal(signal.SIGINT) == self._remember:
            signal.signal(signal.SIGINT, self._before)


def _interrupted(debug: bool) -> int:
    """Say it; what is taken down half made, such as a film's encoder, has nothing to add."""
    if not debug:
        sys.excepthook = lambda *_: None
        sys.unraisablehook = lambda _: None
    print("emo: interrupted", file=sys.stderr)
    return EXIT_INTERRUPTED


def _quiet_libraries() -> None:
    """MediaPipe, TensorFlow Lite and ONNX Runtime greet on standard error unless told not to."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ORT_LOGGING_LEVEL", "3")


def quiet_native() -> None:
    """Silence what C++ libraries write to file descriptor 2; Python's standard error stays.

    MediaPipe prints a dozen lines of its own affairs for each graph it starts, whatever its log
    level. Called for commands that say `QUIET_NATIVE = True`, but not with --debug.
    """
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 only if it did what was asked."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    command = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if command is None:
        parser, _ = make_parser(None)
        parser.parse_args(arguments)
        parser.print_help()
        return 0 if not arguments else EXIT_USAGE
    if command not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
        print(f"emo: error: no command '{command}': {hint}", file=sys.stderr)
        return EXIT_USAGE
    debug = "--debug" in arguments  # anywhere, after a sub-subcommand too
    arguments = [argument for argument in arguments[1:] if argument != "--debug"]
    if not debug:
        sys.excepthook = _one_line
        _quiet_libraries()
    interrupt = _Interrupt()
    try:
        parser, module = make_parser(command)
        assert module is not None
        args = parser.parse_args(arguments)
        args.debug = debug
        if not debug and getattr(module, "QUIET_NATIVE", False):
            quiet_native()
        status: int = module.run(args)
        sys.stdout.flush()
        return status
    except (EmoError, SetupError) as error:
        if debug:
            raise
        print(f"emo: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return _interrupted(debug)
    except ImportError:
        if not interrupt.seen:
            raise
        return _interrupted(debug)
    except BrokenPipeError:  # `emo ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    finally:
        interrupt.forget()
