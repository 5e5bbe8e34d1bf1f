"""Tells of a run to those who do not sit before it: notices for the person, and each job that is done for a hook.

It hears what an onlooker hears, decides nothing (that is `core.notices`), and hands everything on without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchrunner import hook as hooks, notify, places
from batchrunner.batch import Batch
from batchrunner.clock import WallClock
from batchrunner.core import address as addresses, eventlines, notices, plain
from batchrunner.core.events import Downloaded, Event
from batchrunner.core.job import BOUGHT, Job, State
from batchrunner.core.notices import Ended, Notice, Sort, Told
from batchrunner.core.schedule import Stop
from batchrunner.errors import BatchrunnerError, Exit
from batchrunner.hook import Hook
from batchrunner.notify import Notifier
from batchrunner.provider import LIBRARY
from batchrunner.recorder import redactor
from batchrunner.seams import Outcome
from batchrunner.store import Totals

_SILENT = frozenset({Exit.BUG, Exit.USAGE, Exit.LOCKED, Exit.INTERRUPTED})
"""How a run may be refused without a notice: the person who typed it is there, or another run tells."""

About = Callable[[Job], Iterable[str]]
"""What a person is to know of an uncertain submission, line by line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be told, and how.

    Attributes:
        name: what the batch is called in titles.
        manifest: its file.
        folder: what output paths are relative to.
        sorts: the sorts of notices that are wanted.
        about: tells of an uncertain submission.
    """

    name: str
    manifest: Path
    folder: Path
    sorts: Sequence[Sort] = notices.ALL
    about: About | None = None


class Herald:
    """Hears of one run, and passes on what is worth it."""

    def __init__(self, wanted: Wanted, *, notifier: Notifier, hook: Hook | None, now: Callable[[], float]) -> None:
        """Tell of what is `wanted`, from now on."""
        self._wanted = wanted
        self._told = Told(wanted.sorts)
        self._notifier = notifier
        self._hook = hook
        self._now = now
        self._began_at = now()
        self._run = ""
        self._redactor = redactor()

    # --- while it goes on ---

    def begin(self, run: str) -> None:
        """The run has begun; `run` is its id in the hook's lines."""
        self._run = run

    def observe(self, event: Event, job: Job) -> None:
        """Hear of an event that is on disk."""
        if job.state is State.UNCERTAIN and self._told.first(Sort.UNCERTAIN):
            self._send(notices.uncertain(self._wanted.name, self._about(job)))
        if self._hook is not None and isinstance(event, Downloaded):
            self._hook.done(job.id, self._line(event, job))

    def near_cap(self, words: str) -> None:
        """The warning share of a cap is spent."""
        if self._told.first(Sort.CAP):
            self._send(notices.near_cap(self._wanted.name, words))

    def stopped(self, stop: Stop, why: str, jobs: Iterable[Job]) -> None:
        """Nothing more is bought; what was bought is still collected."""
        bought = sum(job.state in BOUGHT and job.state is not State.UNCERTAIN for job in jobs)
        if stop in _WORTH_A_NOTICE and bought and self._told.first(Sort.STOPPED):
            self._send(notices.stopped(self._wanted.name, why, bought=bought))

    # --- at its end ---

    def ended(
        self, outcome: Outcome, code: Exit, totals: Totals, *, before: int = 0, lines: Iterable[str] = ()
    ) -> None:
        """The run has ended; `lines` say what it left to be known or done, `before` credits were charged before it."""
        summary = notices.summary(
            Ended(
                batch=self._wanted.name,
                code=code,
                by_state={str(state): count for state, count in outcome.by_state.items()},
                charged=totals.charged,
                charged_before=before,
                hours=max(0.0, self._now() - self._began_at) / 3600,
                lines=tuple(lines),
            )
        )
        if self._told.wants_summary(summary):
            self._send(summary)

    def refused(self, error: BatchrunnerError) -> None:
        """The run could not begin, or broke off."""
        if error.exit_code not in _SILENT and Sort.STOPPED in self._wanted.sorts:
            hint = (error.hint,) if error.hint else ()
            title = f"{self._wanted.name}: broke off"
            self._send(Notice(sort=Sort.STOPPED, title=title, body="\n".join((str(error), *hint))))

    # --- inside ---

    def _about(self, job: Job) -> Iterable[str]:
        if self._wanted.about is not None:
            return self._wanted.about(job)
        return (f"{job.id}: {job.trouble.message if job.trouble else 'uncertain'}", f"sent as {job.name}; {LIBRARY}")

    def _line(self, event: Event, job: Job) -> str:
        told = eventlines.told_of(event, job, run=self._run).line()
        told["manifest"] = str(self._wanted.manifest.absolute())
        told["files"] = [addresses.beneath(self._wanted.folder, output.path) for output in job.outputs]
        return self._redactor.json_line(told) + "\n"

    def _send(self, notice: Notice) -> None:
        clean = self._redactor.value({"title": notice.title, "body": notice.body})
        lines = (plain.shown(line) for line in str(clean["body"]).splitlines())
        self._notifier.send(Notice(sort=notice.sort, title=plain.shown(str(clean["title"])), body="\n".join(lines)))


_WORTH_A_NOTICE = frozenset({Stop.KEY_REFUSED, Stop.OUT_OF_CREDITS, Stop.DISK_FULL, Stop.UNREACHABLE, Stop.CANARY})


@contextmanager
def heralding(
    batch: Batch,
    *,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    command: Sequence[str] = (),
    is_silent: bool = False,
    about: About | None = None,
) -> Iterator[Herald]:
    """A herald for one run of the batch; at the end it waits a while for what is on its way.

    Args:
        batch: what is run.
        environ: where the addresses are, and what the hook gets, without its keys.
        tell: hears of what could not be sent.
        command: the hook, in place of the manifest's.
        is_silent: sends no notices; the hook runs all the same.
        about: tells of an uncertain submission.

    Raises:
        UsageError: an address is not understood, or the hook's command is not there; nothing was begun.
    """
    found = () if is_silent else notify.opened(notify.addresses(environ, places.notify_path(environ)))
    words = tuple(command) or batch.manifest.on_job_done
    if words:
        hooks.checked(words, folder=batch.root)
    hook = Hook(words, folder=batch.root, environ=environ, tell=tell) if words else None
    notifier = Notifier(found, tell=tell)
    wanted = Wanted(
        name=batch.manifest.name, manifest=batch.path, folder=batch.root, sorts=batch.manifest.notify, about=about
    )
    herald = Herald(wanted, notifier=notifier, hook=hook, now=WallClock().now)
    wait_s = 0.0  # who leaves at once waits for no command
    try:
        yield herald
        wait_s = hooks.LONGEST_END_S
    except BatchrunnerError as error:
        herald.refused(error)
        wait_s = hooks.LONGEST_END_S
        raise
    finally:
        try:
            if hook is not None:
                hook.close(wait_s=wait_s)
        finally:
            notifier.close()
