from __future__ import annotations

from pathlib import Path

import pytest

from emo_core.robot.description import RobotDescription

ROBOTS = Path(__file__).resolve().parents[2] / "config" / "robots"


@pytest.fixture(scope="session")
def sim() -> RobotDescription:
    return RobotDescription.load(ROBOTS / "sim.yaml")


@pytest.fixture(scope="session")
def emo22() -> RobotDescription:
    return RobotDescription.load(ROBOTS / "emo22.yaml")
