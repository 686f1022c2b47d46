"""What all tests share: where the recordings are, and running the command line in-process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A field of the wrong type (NumPy's bool, say) ends a node where messages were built with their
# assertions, as colcon builds them; in tests it does so everywhere.
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")

# Run as `pytest` in any environment that has the packages: the sources are on the path.
for _package in sorted((ROOT / "src").iterdir()):
    if (_package / _package.name / "__init__.py").is_file() and str(_package) not in sys.path:
        sys.path.insert(0, str(_package))

# Workers (`pytest -n 2`) do not hear each other's nodes.
if "PYTEST_XDIST_WORKER" in os.environ:
    from emo import ros_domain

    os.environ.update(ros_domain.domain_environment({}, os.environ.get("ROS_DISTRO")))


def recordings() -> Path | None:
    """Folder of the recordings: EMO_DATA, else shared/data beside the checkout."""
    folder = Path(os.environ.get("EMO_DATA") or ROOT.parent / "shared" / "data")
    return folder if (folder / "grid_s1").is_dir() else None


#: Their tests keep time with live nodes, servos or cameras: nothing else is to run beside them.
TIMELY = ("tests/ros", "tests/robot/buses", "tests/camera")


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        timely = any(item.path.is_relative_to(ROOT / folder) for folder in TIMELY)
        if timely or item.get_closest_marker("ros"):
            item.add_marker("timely")
    if recordings() is None:
        reason = "NO RECORDINGS: set EMO_DATA to the folder that holds grid_s1, grid_other, ..."
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in skipped if "NO RECORDINGS" in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests on real recordings were LEFT OUT: set EMO_DATA to run them",
            yellow=True, bold=True,
        )  # fmt: skip


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The recordings; for tests marked `data`."""
    folder = recordings()
    if folder is None:
        pytest.skip("NO RECORDINGS: set EMO_DATA")
    return folder


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line of an error; fails if there is more or less."""
        lines = self.err.strip().splitlines()
        assert self.status != 0, f"no error, but: {self.out}"
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert "internal error" not in self.err, self.err
        return lines[0]


@pytest.fixture
def emo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """`emo("animate", ...)` runs the command line in this process."""
    import emo.cli

    for name, module in list(sys.modules.items()):  # whoever has it by name, too
        if name.split(".")[:2] == ["emo", "cli"] and hasattr(module, "quiet_native"):
            monkeypatch.setattr(module, "quiet_native", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            status = emo.cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run
