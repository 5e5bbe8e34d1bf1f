"""What differs between Linux, macOS and Windows: whatever asks which system it is on, asks here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
import os
from pathlib import Path, PurePath
import signal
import socket
import stat
import subprocess
import sys
from typing import Any, Final

OURS: Final = "batchrunner"

# --- where files belong: by the XDG Base Directory Specification, or on Windows in AppData ----------------------------


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


# --- whose a file is -------------------------------------------------------------------------------------------------


def others_may(mode: int, rights: int) -> bool:
    """Whether others than its owner have any of these rights to a file of that mode; Windows keeps them elsewhere."""
    return sys.platform != "win32" and bool(mode & rights)


def is_own_folder(found: os.stat_result) -> bool:
    """Whether what was found is a folder, and no link to one, that belongs to who runs this."""
    return stat.S_ISDIR(found.st_mode) and (sys.platform == "win32" or found.st_uid == os.getuid())


# --- processes -------------------------------------------------------------------------------------------------------


def own_group() -> dict[str, Any]:
    """Options of a process that is out of the terminal's group: Ctrl-C there is not for it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


def own_session() -> dict[str, Any]:
    """The same of one that has nothing to do with the terminal at all, as far as the system has that."""
    return own_group() if sys.platform == "win32" else {"start_new_session": True}


def end(process: subprocess.Popen[bytes], *, is_asked: bool) -> None:
    """Ask a process of its own session, and what it started, to end, or end them; on Windows the process alone.

    Those that have ended already are no matter.
    """
    with suppress(OSError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGTERM if is_asked else signal.SIGKILL)
        elif is_asked:
            process.terminate()
        else:
            process.kill()


def is_alive(pid: int) -> bool | None:
    """Whether a process of this number lives here; None where to ask it is to end it."""
    if sys.platform == "win32":
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


# --- signals ---------------------------------------------------------------------------------------------------------

ASKING: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGBREAK") if hasattr(signal, name))
"""A person at the keyboard; SIGBREAK is Windows' Ctrl-Break."""

ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The system shuts down, or the terminal has gone: nobody waits for what is still to be collected."""


# --- sockets ---------------------------------------------------------------------------------------------------------


def take_port_again(listener: socket.socket) -> None:
    """Let a port be listened on at once after its last listener; on Windows, where it may be, this would share it."""
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
