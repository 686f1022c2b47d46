"""Where the networks run: ONNX Runtime on one core, or its TensorRT where it was built with that.

The environment variable EMO_INFERENCE chooses, for a whole process: `cpu` (and where it is empty),
`tensorrt`, or `tensorrt-half`. Only the first is repeatable bit for bit. See docs/deploy.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from emo_core.errors import EmoError

VARIABLE = "EMO_INFERENCE"
CPU, TENSORRT, TENSORRT_HALF = "cpu", "tensorrt", "tensorrt-half"
CHOICES = (CPU, TENSORRT, TENSORRT_HALF)
_CPU_PROVIDER, _TENSORRT_PROVIDER = "CPUExecutionProvider", "TensorrtExecutionProvider"


def has_tensorrt() -> bool:
    """Whether this ONNX Runtime was built with TensorRT (Jetson's is, the package index's not)."""
    import onnxruntime as ort  # not for who only asks what is chosen

    return _TENSORRT_PROVIDER in ort.get_available_providers()


def asked() -> str:
    """What EMO_INFERENCE says, whether that is possible or not."""
    return os.environ.get(VARIABLE, "") or CPU


def chosen() -> str:
    """Where this process's networks run: one of `CHOICES`.

    Raises:
        EmoError: EMO_INFERENCE says something else, or TensorRT where there is none.
    """
    where = asked()
    if where not in CHOICES:
        raise EmoError(f"{VARIABLE} is '{where}': give {', '.join(CHOICES)}")
    if where != CPU and not has_tensorrt():
        raise EmoError(
            f"{VARIABLE} is '{where}', but this ONNX Runtime has no TensorRT: install the one that "
            f"NVIDIA builds for this JetPack, or unset {VARIABLE} (docs/deploy.md)"
        )
    return where


def open_session(path: Path) -> Any:
    """An ONNX Runtime session of `path`, where `chosen` says. What TensorRT cannot do runs on CPU.

    Raises:
        EmoError: see `chosen`; or TensorRT does not start.
        RuntimeError, ValueError: ONNX Runtime's: not a model.
    """
    import onnxruntime as ort

    where = chosen()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers: list[Any] = [_CPU_PROVIDER]
    if where != CPU:
        providers.insert(0, (_TENSORRT_PROVIDER, _tensorrt_options(where == TENSORRT_HALF)))
    session = ort.InferenceSession(str(path), options, providers=providers)
    if where != CPU and _TENSORRT_PROVIDER not in session.get_providers():
        raise EmoError(
            f"TensorRT does not start (its libraries or the GPU are missing): mend that, or unset "
            f"{VARIABLE}"
        )
    return session


def _tensorrt_options(half: bool) -> dict[str, str]:
    """TensorRT builds an engine for each network: minutes on a Jetson, so they are kept.

    Raises:
        EmoError: they cannot be.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(cache, "emo", "tensorrt")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmoError(
            f"cannot write {folder} ({error.strerror}), where TensorRT's engines are kept: set "
            "XDG_CACHE_HOME to a folder that can be written"
        ) from None
    return {
        "trt_fp16_enable": str(half),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
    }
