"""What `./emo top` and the dashboard make of the graph's messages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from emo_interfaces.msg import ArbiterState, MotorCommand

from emo.cli import top
from emo_dashboard.board import FORGOTTEN_S, GONE_S, WINDOW_S, Board
from emo_nodekit.messages import floats
from emo_nodekit.usage import Usage

pytestmark = pytest.mark.ros

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def report(name: str, level: bytes = OK, message: str = "", **facts: object) -> DiagnosticArray:
    values = [KeyValue(key=key, value=str(value)) for key, value in facts.items()]
    status = DiagnosticStatus(
        name=name, level=level, message=message, hardware_id="emo", values=values
    )
    return DiagnosticArray(status=[status])


def test_nodes_are_well_then_gone_then_forgotten() -> None:
    board = Board()
    board.diagnostics(
        report(
            "mouth_driver", rate_hz=25.0, latency_p50_ms=3.5, latency_p95_ms=6.25, dropped=7,
            process="head:12", cpu_percent=31.5, memory_mb=210, temperature_c=41, torque="on",
        ),
        now_s=100.0,
    )  # fmt: skip
    board.diagnostics(report("camera", ERROR, "unplugged"), now_s=101.0)
    driver, camera = sorted(board.nodes(102.0), key=lambda node: -node.dropped)
    assert (driver.level, driver.rate_hz, driver.p50_ms, driver.p95_ms) == ("ok", 25.0, 3.5, 6.25)
    assert (driver.dropped, driver.temperature_c, driver.facts) == (7, 41.0, {"torque": "on"})
    assert (camera.level, camera.message) == ("error", "unplugged")
    assert np.isnan(camera.p50_ms)
    assert [node.level for node in board.nodes(100.1 + GONE_S)] == ["error", "gone"]
    assert board.processes(100.1 + GONE_S) == []
    assert [node.name for node in board.nodes(100.5 + FORGOTTEN_S)] == ["camera"]


def test_nodes_of_one_process_share_what_it_uses() -> None:
    board = Board()
    for name, process, cpu in (("a", "h:1", 10), ("b", "h:1", 12), ("c", "h:2", 40)):
        board.diagnostics(report(name, process=process, cpu_percent=cpu, memory_mb=100), 1.0)
    busy, other = board.processes(2.0)
    assert (busy.name, busy.nodes, busy.cpu_percent) == ("h:2", ("c",), 40.0)
    assert (other.name, other.nodes, other.cpu_percent) == ("h:1", ("a", "b"), 12.0)


def test_others_diagnostics_and_strange_values_do_no_harm() -> None:
    board = Board()
    stranger = report("lidar", rate_hz=10)
    stranger.status[0].hardware_id = "sick"
    board.diagnostics(stranger, 1.0)
    for dropped in ("nan", "inf"):
        board.diagnostics(report("camera", rate_hz="fast", dropped=dropped), 1.0)
        (node,) = board.nodes(1.0)
        assert node.name == "camera"
        assert node.dropped == 0
        assert np.isnan(node.rate_hz)


def test_each_stage_is_shown_what_it_adds_over_the_last_seconds() -> None:
    board = Board()
    board.command(MotorCommand(source="lipsync", stage_ms=floats([900.0] * 5)), now_s=0.0)
    for k in range(100):
        late = 10.0 if k % 10 == 0 else 0.0  # the inverse model is late now and then
        ages = [2.0, 3.0, 3.5, 4.0 + late, 4.5 + late]
        board.command(MotorCommand(source="lipsync", stage_ms=floats(ages)), 1.0 + WINDOW_S)
    board.command(MotorCommand(source="manual", stage_ms=floats([])), 1.0 + WINDOW_S)
    board.command(MotorCommand(source="mimic", stage_ms=floats([1.0])), 1.0 + WINDOW_S)
    stages = board.latency_ms(1.0 + WINDOW_S)
    assert stages == {
        "lipsync": {
            "speech_features": (2.0, 2.0),
            "audio2landmark": (1.0, 1.0),
            "normalization": (0.5, 0.5),
            "inverse_model": (0.5, 10.5),
            "arbiter": (0.5, 0.5),
            "total": (4.5, 14.5),
        }
    }
    assert board.latency_ms(2.0 + 2 * WINDOW_S) == {}


def test_who_drives_what_is_known_to_those_who_come_late_too() -> None:
    board = Board("/robot1")
    board.diagnostics(report("robot2/arbiter", mouth="mimic", eye="mimic"), 1.0)
    board.diagnostics(report("arbiter", mouth="mimic", eye="mimic"), 1.0)
    assert board.sources == {}
    assert board.nodes(1.0) == []
    board.diagnostics(report("robot1/arbiter", mouth="lipsync", eye="at rest"), 1.0)
    assert board.sources == {"mouth": ("lipsync", 1.0), "eye": ("", 1.0)}
    board.arbiter(ArbiterState(groups=["mouth"], sources=["mimic"], blend=floats([0.25])))
    assert board.sources == {"mouth": ("mimic", 0.25)}


def test_summary_is_json_without_nan() -> None:
    board = Board()
    board.diagnostics(report("camera", WARN, "frozen", process="h:1"), 1.0)
    text = json.dumps(board.summary(2.0), allow_nan=False)
    assert json.loads(text)["nodes"]["camera"]["rate_hz"] is None


def test_terminal_page_says_what_is_wrong_within_its_width() -> None:
    board = Board()
    board.diagnostics(report("camera", ERROR, "unplugged " * 20, process="h:1"), 1.0)
    board.diagnostics(report("arbiter", mouth="mimic", rate_hz=30), 1.0)
    lines = top.page(board, 2.0, 60, width=100, colours=False)
    assert max(len(line) for line in lines[2:]) == 100
    assert "mouth: mimic" in lines[0]
    assert any("camera" in line and "error: unplugged" in line for line in lines)
    coloured = top.page(board, 2.0, 60, width=100, colours=True)
    assert any(line.startswith("\033[31mcamera") for line in coloured)


def test_usage_is_that_of_this_process() -> None:
    usage = Usage()
    said = usage()
    assert said["process"].endswith(f":{os.getpid()}")
    assert 10 < float(said["memory_mb"]) < 100_000
    assert float(said["cpu_percent"]) >= 0.0


def test_where_there_is_no_proc_memory_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("emo_nodekit.usage._STATM", tmp_path / "none")
    said = Usage()()
    assert said.keys() == {"process", "cpu_percent"}
    board = Board()
    board.diagnostics(report("camera", **said), now_s=1.0)
    first, *_ = top.page(board, 1.0, 60, 160, colours=False)
    assert first.endswith("% of a core, - MB")
