"""What a build does beside packing: an editable installation is compiled, as any other is.

pip compiles what it installs, but not what an editable installation leaves in its place. Where Python may not keep what
it compiles itself (`PYTHONDONTWRITEBYTECODE`, which many containers set), every start of the program would compile all
of it once more, for half a second.
"""

from __future__ import annotations

from compileall import compile_dir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """Found by its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Compile the checkout; where it cannot be written, nothing is."""
        if version == "editable":
            compile_dir(Path(self.root) / "batchrunner", quiet=2)
