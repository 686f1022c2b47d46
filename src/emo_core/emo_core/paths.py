"""Where models and configuration live: a source checkout, or an installed `share/emo`."""

from __future__ import annotations

import os
from pathlib import Path

from emo_core.errors import EmoError


def share_dir() -> Path:
    """Folder that holds `models/` and `config/`.

    In order: `EMO_SHARE`; the checkout this file lies in; `share/emo` of a sourced ROS 2 workspace.

    Raises:
        EmoError: `EMO_SHARE` names another folder, or there is none.
    """
    override = os.environ.get("EMO_SHARE")
    if override:
        if not _is_share(Path(override)):
            raise EmoError(
                f"EMO_SHARE is '{override}', which has no folders models and config: "
                "set it to the folder that has both, or unset it"
            )
        return Path(override)
    candidates = list(Path(__file__).resolve().parents[3:4])
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            candidates.append(Path(prefix) / "share" / "emo")
    for candidate in candidates:
        if _is_share(candidate):
            return candidate
    raise EmoError(
        "emo's models and config folders were not found: source the workspace that holds the "
        "package 'emo', run from a checkout, or set EMO_SHARE to the folder that has both"
    )


def _is_share(folder: Path) -> bool:
    return (folder / "models").is_dir() and (folder / "config").is_dir()


def models_dir() -> Path:
    """Folder with one sub-folder for each model."""
    return share_dir() / "models"


def config_dir() -> Path:
    """Folder with `robots/`."""
    return share_dir() / "config"
