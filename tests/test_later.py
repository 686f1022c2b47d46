"""A library's imports that nobody uses cost nothing, and work all the same where one is used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from emo_core.later import later


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`drawing` imports `slow.plots` and uses it in one function."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "__init__.py").write_text("colour = 'blue'\n")
    (tmp_path / "slow" / "plots.py").write_text("def show():\n    return 'shown'\n")
    (tmp_path / "drawing.py").write_text(
        "import slow\nimport slow.plots as plots\n\n"
        "def draw():\n    return plots.show(), slow.colour\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow", "slow.plots", "drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("library")
def test_what_is_not_used_is_not_imported_and_what_is_used_works():
    with later("slow", "slow.plots"):
        drawing = importlib.import_module("drawing")
    assert "slow" not in sys.modules
    assert "slow.plots" not in sys.modules
    assert drawing.draw() == ("shown", "blue")
    assert sys.modules["slow.plots"].show() == "shown"


@pytest.mark.usefixtures("library")
def test_used_while_the_block_lasts():
    with later("slow", "slow.plots"):
        assert importlib.import_module("drawing").draw() == ("shown", "blue")
    assert sys.modules["slow"].colour == "blue"


@pytest.mark.usefixtures("library")
def test_a_module_that_is_there_stays_and_an_error_leaves_no_stand_in():
    plots = importlib.import_module("slow.plots")
    with pytest.raises(ZeroDivisionError), later("slow", "slow.plots", "other"):
        raise ZeroDivisionError
    assert sys.modules["slow.plots"] is plots
    assert "other" not in sys.modules
    with pytest.raises(AttributeError, match="nothing"), later("drawing"):
        _ = importlib.import_module("drawing").nothing


def test_tracking_imports_no_plots():
    code = (
        "import sys\n"
        "from emo_core.face.tracking import FaceTracker\n"
        "FaceTracker().close()\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
