"""The inverse model's baselines against brute force; its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from babbles import made_babble

from emo_core.evaluation.executed import Executed
from emo_core.evaluation.inverse import (
    BASELINES,
    InverseScores,
    evaluate_inverse,
    nearest_neighbour,
    random_commands,
    random_face,
)
from emo_core.evaluation.inverse_plots import write_plots
from emo_core.robot.description import RobotDescription
from emo_core.robot.pairs import Split


@pytest.fixture(scope="module")
def robot() -> RobotDescription:
    return RobotDescription.load("sim")


def test_the_nearest_neighbour_is_that_of_all_pairs(robot: RobotDescription) -> None:
    data = made_babble(robot, 320, noise_mm=2.0)
    known, asked = Split(data, robot, "train"), Split(data, robot, "test")
    for group, half in known.halves.items():
        known.halves[group] = replace(half, faces=half.faces[:40], commands=half.commands[:40])
    x, y = asked.pairs(np.arange(len(asked)))
    all_x, all_y = known.pairs(np.arange(len(known)))
    squares = (x**2).sum(axis=1)[:, None] + (all_x**2).sum(axis=1) - 2 * x @ all_x.T
    brute = np.abs(all_y[squares.argmin(axis=1)] - y).mean(axis=0)
    for group, half in asked.halves.items():
        assert np.allclose(nearest_neighbour(known.halves[group], half), brute[half.columns])


def test_the_published_neighbour_is_that_of_the_authors_search(robot: RobotDescription) -> None:
    """The three nearest of a hundred pairs in a row, of pairs whose mouths change first."""
    data = made_babble(robot, 320, noise_mm=2.0)
    known, asked = Split(data, robot, "train"), Split(data, robot, "test")
    x, y = asked.pairs(np.arange(0, len(asked), 7))
    sizes = [len(half.faces) for half in known.halves.values()]
    rng, errors = np.random.default_rng(1), []
    for _ in range(150):
        eyes, mouths = np.full(100, rng.integers(sizes[0])), rng.permutation(sizes[1])[:100]
        faces, commands = known.pairs(np.ravel_multi_index([eyes, mouths], sizes))
        apart = np.abs(x[:, None] - faces[None]).sum(axis=2)
        nearest = np.argsort(apart, axis=1)[:, :3]
        errors.append(np.abs(commands[nearest].mean(axis=1) - y).mean(axis=0))
    expected = np.mean(errors, axis=0)
    for group, search in BASELINES["published_neighbour"].items():
        got = search(known.halves[group], asked.halves[group])
        np.testing.assert_allclose(got, expected[asked.halves[group].columns], atol=0.02)


def test_the_random_ones_are_the_means_of_draws(robot: RobotDescription) -> None:
    data = made_babble(robot, 320)
    known = Split(data, robot, "train").halves["mouth"]
    asked = Split(data, robot, "test").halves["mouth"]
    rng = np.random.default_rng(0)
    rows = rng.integers(len(asked.commands), size=200_000)
    truth = asked.commands[rows]
    drawn = rng.uniform(asked.low, asked.high, truth.shape)
    assert np.allclose(random_commands(known, asked), np.abs(drawn - truth).mean(axis=0), atol=3e-3)
    others = known.commands[rng.integers(len(known.commands), size=len(truth))]
    assert np.allclose(random_face(known, asked), np.abs(others - truth).mean(axis=0), atol=3e-3)


def test_the_report_of_the_shipped_model(robot: RobotDescription, tmp_path: Path) -> None:
    """Made-up babbling is none of its robot's: the figures are bad, but all there."""
    scores = evaluate_inverse(robot, made_babble(robot, 320), torch=False)
    figures = scores.as_json()
    assert {"l1", "l1_per_motor", "baselines", "commands_per_s"} <= set(figures)
    names = {"nearest_neighbour", "published_neighbour", "random_face", "random_commands"}
    assert set(figures["baselines"]) == names
    assert list(figures["l1_per_motor"]) == list(robot.names)
    assert figures["l1"] == pytest.approx(np.mean(list(figures["l1_per_motor"].values())), rel=1e-3)
    assert figures["baselines"]["nearest_neighbour"]["l1"] < figures["l1"]
    assert figures["times_faster_than"]["nearest_neighbour"] == pytest.approx(
        scores.seconds["nearest_neighbour"] / scores.seconds["model"], rel=1e-3
    )
    assert [path.name for path in write_plots(scores, None, tmp_path)] == ["motors.png"]


def test_plots_of_what_was_executed(tmp_path: Path) -> None:
    one = np.linspace(0.5, 3.0, 113)
    executed = Executed(one / 2, 4 * one, one, 4 * one, one / 4, faces=9, lost=1)
    figures = executed.as_json()
    ratios = figures["over_random_face"]
    assert ratios == pytest.approx({"true": 0.125, "seen": 0.25, "seen_repeated": 0.0625})
    names = ("model", "nearest_neighbour", "random_face", "random_commands")
    errors = {name: np.array([0.1 * k, 0.2]) for k, name in enumerate(names)}
    scores = InverseScores("two", ("jaw", "brow"), errors, {"model": 1e-5}, 10)
    for path in write_plots(scores, executed, tmp_path):
        assert path.stat().st_size > 5000
