"""Which variables of the environment are secrets, and what processes of ours get of it.

What they get is named, and so no key, address or password of a person's is among it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

KEYS: Final = ("MAGIC_HOUR_API_KEY", "MAGIC_HOUR_API_TOKEN")
"""The provider's key; the first that is set counts."""

WEBHOOK_SECRET: Final = "MAGIC_HOUR_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
"""The secret that the provider's notices are signed with; nothing else holds it."""

SECRETS: Final = (*KEYS, WEBHOOK_SECRET)
"""Those whose values appear in no file."""

NOTIFY: Final = "BATCHRUNNER_NOTIFY"
"""Addresses for notices, with spaces or line breaks between them; they may hold passwords."""

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
