"""What processes of ours get of our environment: what is named, and so no key, address or password of a person's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

OF_PYTHON: Final = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONUTF8", "PYTHONIOENCODING"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"),
    }
)
"""What Python and the dynamic loader need."""

OF_LANGUAGE: Final = ("LC_",)
"""How the names begin that say how text is written."""


def passed(environ: Mapping[str, str], names: Collection[str], beginnings: tuple[str, ...]) -> dict[str, str]:
    """Of an environment what has one of these names, or a name that begins so."""
    return {name: value for name, value in environ.items() if name in names or name.startswith(beginnings)}
