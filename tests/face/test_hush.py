"""MediaPipe starts in silence, and nobody else is silenced."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from emo_core.face.hush import drawn_face, hushed
from emo_core.face.tracking import FaceTracker


def test_mediapipe_says_nothing_and_others_are_heard(capfd: pytest.CaptureFixture[str]) -> None:
    with hushed():
        print("W is for warning", file=sys.stderr)
        os.write(2, b"W0000 00:00:1795275208.198621   26762 some_calculator.cc:114] Never mind\n")
        os.write(2, b"I0000 00:00:1795275208.198621   26762 some_calculator.cc:1] Never mind\n")
        os.write(2, b"E0000 00:00:1795275208.198621   26762 some_calculator.cc:1] An error\n")
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"[ERROR] [1795275208.198] [camera]: no such camera")  # and no end of line
    print("after", file=sys.stderr)
    said = capfd.readouterr().err
    assert "Never mind" not in said and "XNNPACK" not in said
    assert said.startswith("W is for warning\nE0000")
    assert "no such camera" in said and said.endswith("after\n")


def test_a_tracker_in_a_process_of_its_own_is_silent() -> None:
    code = """
import numpy as np
from emo_core.face.hush import drawn_face
from emo_core.face.tracking import FaceTracker
with FaceTracker(max_faces=2) as tracker:
    for size in (1, 2):
        assert tracker.faces(np.repeat(np.repeat(drawn_face(), size, 0), size, 1))
    tracker.reset()
    assert tracker.faces(drawn_face())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_face_it_starts_with_is_forgotten() -> None:
    with FaceTracker() as tracker:
        assert not tracker.faces(np.zeros_like(drawn_face()))
        assert len(tracker.faces(drawn_face())) == 1
