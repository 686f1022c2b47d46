"""A few hundred of the benchmark's random cases, over all shipped robots; and that it has teeth."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from emo_core.robot.safety import SafetyLayer, Sent

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "safety_cases.py"


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("safety_cases", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["safety_cases"] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


def violations(cases: ModuleType, count: int) -> list[str]:
    robots = cases.shipped_robots()
    texts = [cases.run_case(seed, robots)[1] for seed in range(10_000, 10_000 + count)]
    return [text for text in texts if text]


def test_no_promise_is_broken(cases: ModuleType) -> None:
    assert violations(cases, 200) == []


Step = Callable[..., Sent]


def changed(step: Step, change: Callable[[SafetyLayer, np.ndarray], np.ndarray]) -> Step:
    """A layer's `step` whose positions were tampered with on their way out."""

    def tampered(self: SafetyLayer, command, now_s) -> Sent:
        sent = step(self, command, now_s)
        self._x = change(self, sent.positions)
        return Sent(self._x.copy(), sent.reasons, sent.torque)

    return tampered


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (lambda layer, x: x + 1e-3 * (layer._v > 0), "too fast|outside|too abrupt|interlock|home"),
        (lambda layer, x: np.where(np.abs(x - 0.5) > 0.3, np.nan, x), "not finite"),
        (lambda layer, x: x + 1e-4 * layer.estopped, "moved in no time|e-stop|interlock|outside"),
    ],
)
def test_a_layer_that_cheats_a_little_is_caught(
    cases: ModuleType, monkeypatch: pytest.MonkeyPatch, change, promise: str
) -> None:
    monkeypatch.setattr(SafetyLayer, "step", changed(SafetyLayer.step, change))
    caught = violations(cases, 60)
    assert len(caught) > 10
    assert any(word in text for text in caught for word in promise.split("|"))


@pytest.mark.parametrize(
    ("attribute", "factor", "promise"),
    [
        ("_speed", 1.02, "too fast"),
        ("_acceleration", 1.02, "too abrupt"),
        ("_maximum", 1.02, "lock"),
    ],
)
def test_a_layer_with_looser_limits_is_caught(
    cases: ModuleType, monkeypatch: pytest.MonkeyPatch, attribute: str, factor: float, promise: str
) -> None:
    strict = SafetyLayer.__init__

    def loose(self: SafetyLayer, description, start=None) -> None:
        strict(self, description, start)
        setattr(self, attribute, getattr(self, attribute) * factor + 1e-3)

    monkeypatch.setattr(SafetyLayer, "__init__", loose)
    assert any(promise in text for text in violations(cases, 100))


def test_a_watchdog_that_sleeps_is_caught(
    cases: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = SafetyLayer._elapsed

    def asleep(self: SafetyLayer, now_s: float) -> float:
        gone = awake(self, now_s)
        if self._now is not None:
            self._heard[:] = self._now
        return gone

    monkeypatch.setattr(SafetyLayer, "_elapsed", asleep)
    assert any("watchdog" in text for text in violations(cases, 20))
