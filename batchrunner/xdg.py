"""Where a person's files of this program belong: by the XDG Base Directory Specification, or on Windows in AppData."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
import sys
from typing import Final

OURS: Final = "batchrunner"


def config_folder(environ: Mapping[str, str]) -> Path:
    """What the person writes."""
    if sys.platform == "win32":
        return _app_data(environ, "APPDATA", "Roaming") / OURS
    return _home_of(environ, "XDG_CONFIG_HOME", PurePath(".config")) / OURS


def cache_folder(environ: Mapping[str, str]) -> Path:
    """What can be made again."""
    if sys.platform == "win32":
        return _app_data(environ, "LOCALAPPDATA", "Local") / OURS / "cache"
    return _home_of(environ, "XDG_CACHE_HOME", PurePath(".cache")) / OURS


def state_folder(environ: Mapping[str, str]) -> Path:
    """What is to be remembered on this machine."""
    if sys.platform == "win32":
        return _app_data(environ, "LOCALAPPDATA", "Local") / OURS
    return _home_of(environ, "XDG_STATE_HOME", PurePath(".local", "state")) / OURS


def _home_of(environ: Mapping[str, str], variable: str, usual: PurePath) -> Path:
    configured = Path(environ.get(variable) or "")
    return configured if configured.is_absolute() else _home(environ) / usual  # a relative path is invalid and ignored


def _app_data(environ: Mapping[str, str], variable: str, usual: str) -> Path:
    return Path(environ.get(variable) or _home(environ) / "AppData" / usual)


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())
