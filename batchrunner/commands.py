"""Every command that we advise, as it is typed: the one place that builds them.

A command without its `--state` begins another state file, and buys again what was paid for. So whatever was typed and
still matters is in each advice, quoted for a shell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.selection import Selection

_BUYING = (
    "allow_unlisted",
    "var",
    "history",
    "max_credits",
    "max_credits_per_job",
    "cutoff",
    "on_no_credits",
    "ignore_disk_space",
    "webhook_port",
    "webhook_host",
    "start_at",
    "stop_at",
    "finish_by",
)

TAKES: Mapping[str, Sequence[str]] = {
    "validate": ("allow_unlisted", "var"),
    "plan": ("state", "rerender", "retry_failed", "selection", "allow_unlisted", "var", "history"),
    "run": ("state", "sandbox", "canary", "rerender", "retry_failed", "selection", *_BUYING, "plan"),
    "retry": ("state", "sandbox", "selection", "code", *_BUYING),
    "download": ("state", "sandbox", "selection"),
    "reconcile": ("state", "sandbox"),
    "adopt": ("state", "sandbox"),
    "resolve": ("state", "not_created", "force"),
    "status": ("state", "selection"),
    "report": ("state", "selection"),
    "ledger": ("state", "refunds_due"),
}
"""The flags of each command that an advice may name."""

KEPT = frozenset({"state", "sandbox", "selection", *_BUYING})
"""Flags that the next command needs as well. Consent (--yes), and what buys again (--rerender, --retry-failed), is
given each time anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What was typed: the manifest, and the flags that matter to the next command as well."""

    manifest: Path
    flags: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Path, given: Mapping[str, Any]) -> Typed:
        """What was typed, of all the values that a command was given; a date will have passed, a time of day comes."""
        flags = {name: value for name, value in given.items() if name in KEPT and not isinstance(value, datetime)}
        if flags.get("on_no_credits") == "stop":
            del flags["on_no_credits"]
        return cls(manifest=manifest, flags=flags)

    @property
    def selection(self) -> Selection:
        """The jobs it was for."""
        from batchrunner.core.selection import EVERYTHING  # noqa: PLC0415 - most of what is typed selects nothing

        selection: Selection = self.flags.get("selection") or EVERYTHING
        return selection

    def selected(self) -> str:
        """The words that selected the jobs it was for; empty where it was for all."""
        return shlex.join(written("selection", self.selection))

    def command(self, name: str, *words: str, **more: Any) -> str:
        """The command to type, with what was typed before as far as it takes that, and `more` flags."""
        flags = {**self.flags, **more}
        if name in {"download", "report"}:
            flags["selection"] = self.selection.without_states()  # what is finished is no longer new, or failed
        parts = ["batchrunner", name, str(self.manifest), *words]
        for flag in TAKES[name]:
            parts += written(flag, flags.get(flag))
        return shlex.join(parts)


def written(flag: str, value: Any) -> list[str]:
    """A flag as it is typed; nothing where it was not given."""
    if flag == "selection":
        return [] if value is None else [part for name, words in _selected(value) for part in written(name, words)]
    option = f"--{flag.replace('_', '-')}"
    if flag == "canary":
        return [option] if value == "go" else [f"{option}={value}"] if value else []
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if isinstance(value, Mapping):
        value = tuple(f"{name}={word}" for name, word in value.items())
    values = value if isinstance(value, tuple) else (value,)
    return [part for each in values for part in (option, _word(each))]


def _word(value: Any) -> str:
    return value.isoformat("seconds" if value.second else "minutes") if isinstance(value, time) else str(value)


def _selected(chosen: Selection) -> Iterator[tuple[str, Any]]:
    """A selection as flags and their values."""
    yield "only", chosen.only
    yield "exclude", chosen.exclude
    yield "tag", chosen.tags
    yield "kind", chosen.kinds
    yield "state", chosen.states
    yield "limit", chosen.limit
    yield "sample", chosen.sample
    yield "seed", chosen.seed or None


def answers(job: Job, typed: Typed) -> tuple[str, str]:
    """The two commands of which a person types one: the project that it became, or that it became nothing."""
    resolve = typed.command("resolve", job.id, not_created=True, force=job.is_paid)
    return typed.command("adopt", job.id, "PROJECT_ID"), resolve
