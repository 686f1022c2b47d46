"""demo and doctor: what they leave and what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys

import av
import pytest

from emo.cli import demo, doctor
from emo_core import inference
from emo_core.errors import EmoError
from emo_core.paths import share_dir


def test_demo_leaves_a_film_a_sheet_and_a_page(emo, tmp_path):
    result = emo("demo", "--out", tmp_path / "new" / "demo", "--headless", "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["opened"] is False
    with av.open(report["video"]) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert video.frames == report["frames"]
        seconds = float(video.duration * video.time_base)
        assert seconds == pytest.approx(report["frames"] / 25, abs=0.01)
        assert float(audio.duration * audio.time_base) == pytest.approx(seconds, abs=0.1)
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
    with open(report["contact_sheet"], "rb") as sheet:
        head = sheet.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24])[0] > 1000
    page = open(report["page"], encoding="utf-8").read()
    assert 'src="demo.mp4"' in page
    assert 'src="contact.png"' in page


def test_demo_without_a_display_opens_nothing(monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(demo.sys, "platform", "linux")
    assert demo._open(tmp_path / "index.html") is False


def test_demo_where_nothing_can_be_written(emo):
    assert "cannot make the output folder" in emo("demo", "--out", "/proc/demo").error_line


def test_bundled_recording_is_small():
    assert demo.SENTENCE.stat().st_size < 250_000


def test_doctor_finds_the_offline_path_whole(emo):
    result = emo("doctor", "--json")
    report = json.loads(result.out)
    broken = [f for f in report["findings"] if f["offline"] and f["status"] != "ok"]
    assert broken == []
    assert (result.status, report["offline_works"]) == (0, True)
    names = {finding["name"] for finding in report["findings"]}
    assert {"python", "packages", "ffmpeg", "models", "ros", "messages", "compiler"} <= names
    assert {"cameras", "serial", "disk", "display"} <= names
    for finding in report["findings"]:
        if finding["status"] != "ok":
            assert finding["remedy"], finding


def test_doctor_names_a_broken_model_and_fails(emo, tmp_path, monkeypatch):
    shutil.copytree(share_dir() / "models", tmp_path / "models")
    (tmp_path / "config").symlink_to(share_dir() / "config")
    (tmp_path / "models" / "apc" / "model.onnx").write_bytes(b"half a model")
    monkeypatch.setenv("EMO_SHARE", str(tmp_path))
    result = emo("doctor")
    assert result.status == 1
    assert "missing  models" in result.out
    assert "apc" in result.out
    assert "The offline path does not work" in result.out


def test_a_wrong_emo_share_is_named_not_passed_over(emo, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()  # but no config
    monkeypatch.setenv("EMO_SHARE", str(tmp_path))
    said = f"EMO_SHARE is '{tmp_path}', which has no folders models and config: set it"
    with pytest.raises(EmoError, match=re.escape(said)):
        share_dir()
    result = emo("doctor", "--json")
    report = json.loads(result.out)
    assert (result.status, report["offline_works"]) == (1, False)
    (finding,) = [each for each in report["findings"] if each["name"] == "models"]
    assert finding["status"] == "missing" and said in finding["found"]
    out = tmp_path / "a.npz"
    assert said in emo("animate", demo.SENTENCE, "-o", out).error_line
    assert not out.exists()
    monkeypatch.setenv("EMO_SHARE", "")  # as if it were not set
    assert (share_dir() / "models" / "apc").is_dir()


@pytest.mark.parametrize(
    ("chosen", "tensorrt", "status", "said"),
    [
        ("", False, "ok", "on cpu (ONNX Runtime has no TensorRT; EMO_INFERENCE chooses)"),
        ("tensorrt-half", True, "ok", "on tensorrt-half (ONNX Runtime has TensorRT; "),
        ("tensorrt", False, "missing", "this ONNX Runtime has no TensorRT"),
        ("gpu", True, "missing", "EMO_INFERENCE is 'gpu': give cpu, tensorrt"),
    ],
)
def test_doctor_says_where_the_networks_run(monkeypatch, chosen, tensorrt, status, said):
    monkeypatch.setenv("EMO_INFERENCE", chosen)
    monkeypatch.setattr(inference, "has_tensorrt", lambda: tensorrt)
    (finding,) = doctor.check_networks()
    assert (finding.name, finding.status) == ("networks", status)
    assert said in finding.found
    assert status == "ok" or finding.remedy


@pytest.mark.parametrize(("package", "told"), [
    ("onnxruntime", {"networks", "models"}),
    ("yaml", {"models"}),
])  # fmt: skip
def test_doctor_names_a_package_that_is_not_there_and_goes_on(package, told):
    script = (
        "import sys; sys.modules[sys.argv[1]] = None\n"  # as if it were not installed
        "from emo.cli import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, package],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    findings = json.loads(done.stdout)["findings"]
    broken = [each for each in findings if each["offline"] and each["status"] != "ok"]
    assert {each["name"] for each in broken} == told
    assert all(package in each["found"] and each["remedy"] for each in broken)
    assert {"packages", "ros", "compiler", "disk", "display"} <= {f["name"] for f in findings}


def test_doctor_says_each_finding_as_it_comes(emo, monkeypatch):
    def whole():
        yield doctor.Finding("first", doctor.OK, "there")

    def check_the_rest():
        raise ImportError("libGL.so.1: cannot open shared object file")
        yield

    def breaks():
        raise RuntimeError("nobody foresaw this")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (whole, check_the_rest, breaks))
    said = []
    monkeypatch.setattr(doctor, "_print", said.append)
    with pytest.raises(RuntimeError):
        emo("doctor")
    first, rest = said
    assert first.name == "first"
    assert (rest.name, rest.status, rest.offline) == ("the rest", "missing", True)
    assert "libGL.so.1" in rest.found and rest.remedy


def test_doctor_looks_for_what_the_messages_are_built_with(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda name: str(tmp_path))
    (finding,) = doctor.check_compiler()
    assert (finding.status, "Python.h" in finding.found) == ("absent", True)
    assert re.search(r"apt install python3\.\d+-dev$", finding.remedy)
    (tmp_path / "Python.h").touch()
    (finding,) = doctor.check_compiler()
    assert (finding.status, finding.found) == ("ok", "/usr/bin/c++")


def test_doctor_reads_the_list_of_packages():
    wanted = doctor._PIN.match('mediapipe==0.10.21; platform_machine != "aarch64"   # the last')
    assert wanted is not None
    assert wanted.groups()[:4] == ("mediapipe", "0.10.21", "!=", "aarch64")
    assert doctor._PIN.match("# nothing") is None
