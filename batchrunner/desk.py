"""The desk behind the dashboard, part of the composition: the batches of a place, and what a person may do with them.

An action is asked for first, and answered with what it would do and cost, and a ticket; only the ticket carries it out,
and just that. The checks are those of the command line, since the functions are: this module decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
import hashlib
from pathlib import Path
import secrets
import threading
import time
from typing import Any, Final, Protocol

from batchrunner import board as boards, commands, control, gallery, statefile, statelock, store, waiting
from batchrunner.batch import Batch, read_for_collecting
from batchrunner.board import Board, Words
from batchrunner.commands import Typed
from batchrunner.control import Wish
from batchrunner.core import address as addresses, eventlines, plan as planning, retry as retrying
from batchrunner.core.job import BOUGHT, Job, State
from batchrunner.core.plan import BUYS
from batchrunner.core.selection import BROKEN, EVERYTHING, Selection, code_of
from batchrunner.errors import BatchrunnerError, UsageError
from batchrunner.gallery import Folders
from batchrunner.pictures import Missing, Pictures
from batchrunner.provider import LIBRARY

LOOK_S: Final = 5.0
"""Seconds between two looks for new manifests in a folder."""

TICKET_S: Final = 600.0
"""A ticket is good for so long; prices and balances are not those of then any more."""

MOST_BOARDS: Final = 200
MOST_PROMPT: Final = 400
MOST_IDS: Final = 5
MOST_TOLD: Final = 500
"""Events of one job that are shown, the last."""

_TICKETS: Final = 50

Note = Callable[[Job, Mapping[str, Job]], str]
"""What a job without a file waits for, or why it has none, as the status tells it."""


class Priced(Protocol):
    """A plan to try jobs again, as far as it is shown here."""

    @property
    def batch(self) -> Batch:
        """What it is a plan for."""

    @property
    def made(self) -> planning.Plan:
        """The plan itself."""

    @property
    def balance(self) -> int | None:
        """Credits of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What carries out a retry: the library's own functions.

    Attributes:
        plan: the plan to try jobs again, with its price; reads the manifest, the inputs and the account.
        run: carries out just that plan, and tells, from any thread, what a person should know meanwhile.
        cap_words: what each retry may cost beyond what the manifest says; None where nothing is said.
    """

    plan: Callable[[Path, Selection], Priced]
    run: Callable[[Any, Callable[[str], None]], Awaitable[object]]
    cap_words: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ticket:
    batch: str
    do: Callable[[], Awaitable[str]]
    until: float


@dataclass(slots=True, kw_only=True)
class _Place:
    """One batch of the desk."""

    board: Board
    folders: Folders
    said: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=20))
    retry: asyncio.Task[None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    whole: tuple[str, list[dict[str, Any]]] = ("", [])
    is_beginning: bool = False
    retries: str = ""

    @property
    def is_retrying(self) -> bool:
        """Whether a retry that was begun here is not over."""
        return self.is_beginning or (self.retry is not None and not self.retry.done())

    def tell(self, text: str) -> None:
        """Put a line on the page; from any thread."""
        self.said.append({"at": time.time(), "text": text})


class Desk:
    """The batches of a manifest, or of a folder."""

    def __init__(
        self,
        place: Path,
        *,
        state: Path | None = None,
        words: Words,
        note: Note,
        clean: Callable[[str], str],
        hands: Hands,
        pictures: Pictures,
    ) -> None:
        """Sit down at a place.

        Args:
            place: a manifest, or a folder of manifests that have state files.
            state: the state file, where it is not beside the manifest.
            words: tells events.
            note: tells why a job has no file.
            clean: takes secrets and what steers the reader's eye out of a text.
            hands: carries out a retry.
            pictures: makes pictures.
        """
        self._place = place
        self._state = state
        self._words = words
        self._note = note
        self._clean = clean
        self._hands = hands
        self._pictures = pictures
        self._batches: dict[str, _Place] = {}
        self._tickets: dict[str, _Ticket] = {}
        self._looked_at = float("-inf")
        self._look()

    # --- reading ---

    def overview(self) -> list[dict[str, Any]]:
        """Every batch in figures."""
        self._look()
        return [
            {"id": key, "name": self._clean(each.board.batch.path.name), **self._figures(each)}
            for key, each in list(self._batches.items())
        ]

    def news(self, batch: str, mark: str | None) -> dict[str, Any] | None:
        """What is new in a batch since a mark; None where there is no such batch."""
        self._look()
        place = self._batches.get(batch)
        if place is None:
            return None
        change = place.board.since(mark)
        clean = self._clean
        return {
            "name": clean(place.board.batch.path.name),
            "path": clean(str(place.board.batch.path)),
            "mark": change.mark,
            "is_all": change.is_all,
            "jobs": self._jobs(place, change),
            "log": [
                {"seq": line.seq, "at": line.at, "job": clean(line.job), "text": clean(line.text)}
                for line in change.lines
            ],
            "summary": self._figures(place, change.summary),
        }

    def _jobs(self, place: _Place, change: boards.Change) -> list[dict[str, Any]]:
        """The jobs of a change; all of a batch are put into words once, however many pages ask for them at once."""
        if not change.is_all:
            return [self._job(place.board, number, job) for number, job in change.jobs]
        with place.lock:
            if place.whole[0] != change.mark:
                place.whole = change.mark, [self._job(place.board, number, job) for number, job in change.jobs]
            return place.whole[1]

    async def picture(self, batch: str, job: int, which: str) -> tuple[bytes | None, str]:
        """A picture as WebP, or why there is none.

        Raises:
            KeyError: there is no such batch, job or picture.
        """
        place = self._batches[batch]
        known = place.board.job(job)
        if known is None or which not in gallery.KINDS:
            raise KeyError(which)
        wanted = gallery.wanted(known, place.folders, gallery.KINDS[which])
        made = wanted if isinstance(wanted, Missing) else (await self._pictures.make([wanted]))[0]
        return (None, self._clean(made.why)) if isinstance(made, Missing) else (made.data, "")

    def log(self, batch: str, job: int) -> list[dict[str, Any]]:
        """All that happened to a job, in every attempt, oldest first.

        Raises:
            KeyError: there is no such batch or job.
            StateUnusable: its state file cannot be used.
        """
        place = self._batches[batch]
        known = place.board.job(job)
        if known is None:
            raise KeyError(job)
        with store.open_to_read(place.board.batch.state) as view:
            happened = list(view.history(known.id)) if view else []
        told = (eventlines.told_of(event, after, run=run) for run, event, after in happened[-MOST_TOLD:])
        return [
            {"at": each.at, "attempt": each.attempt, "event": each.event, "text": self._clean(eventlines.words(each))}
            for each in told
        ]

    def file(self, batch: str, job: int, number: int) -> Path | None:
        """A result on disk; None where there is none, or it is no longer what was recorded."""
        place = self._batches.get(batch)
        known = place.board.job(job) if place is not None else None
        if place is None or known is None or not 0 <= number < len(known.outputs):
            return None
        output = known.outputs[number]
        if addresses.is_object(output.path):
            return None
        path = place.folders.result(output.path)
        try:
            is_that = path is not None and path.is_file() and path.stat().st_size == output.bytes
        except OSError:
            return None
        return path if is_that else None

    def _figures(self, place: _Place, summary: boards.Summary | None = None) -> dict[str, Any]:
        figures = boards.shape(summary or place.board.summary())
        figures["waits"] = [each | {"why": self._clean(each["why"])} for each in figures["waits"]]
        figures["stalls"] = [self._clean(each) for each in figures["stalls"]]
        figures["pauses"] = {step: self._clean(words) for step, words in figures["pauses"].items()}
        figures["trouble"] = None if figures["trouble"] is None else self._clean(figures["trouble"])
        return figures | {"said": list(place.said), "retry": place.retries if place.is_retrying else None}

    def _job(self, board: Board, number: int, job: Job) -> dict[str, Any]:
        body = job.spec.body()
        style = body.get("style")
        prompt = style.get("prompt") if isinstance(style, dict) else None
        clean = self._clean
        return {
            "n": number,
            "id": clean(job.id),
            "kind": str(job.kind),
            "model": clean(job.spec.model or ""),
            "state": str(job.state),
            "attempt": job.attempt,
            "tags": [clean(tag) for tag in job.spec.tags],
            "prompt": clean(str(prompt or ""))[:MOST_PROMPT],
            "estimated": job.spec.expected,
            "hold": job.spec.hold,
            "charged": job.charged,
            "reason": clean(boards.waiting_words(job, board.among(job), self._note)),
            "suspect": None if job.suspect is None else clean(job.suspect),
            "doubt": self._doubt(board, job) if job.state is State.UNCERTAIN else None,
            "files": [{"path": clean(each.path), "bytes": each.bytes} for each in job.outputs],
            "ended_at": job.ended_at,
            "has_before": any(each.media in {"video", "image"} and each.path for each in job.spec.inputs),
        }

    def _doubt(self, board: Board, job: Job) -> dict[str, Any]:
        """Where a person looks for a submission that only a person can judge, and what to type then."""
        typed = Typed(manifest=board.batch.path, flags={"state": self._state})
        adopt, resolve = (self._clean(each) for each in commands.answers(job, typed))
        return {
            "library": LIBRARY,
            "sent_as": self._clean(job.name or ""),
            "sent_at": job.submitted_at or job.updated_at,
            "adopt": adopt,
            "resolve": resolve,
        }

    def _look(self) -> None:
        """Take in manifests that have come, or that have a state file now."""
        clock = time.monotonic()
        if clock - self._looked_at < LOOK_S:
            return
        self._looked_at = clock
        paths = [self._place] if not self._place.is_dir() else boards.found_in(self._place)[:MOST_BOARDS]
        for path in paths:
            key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
            state = self._state or statefile.path_for(path)
            if key not in self._batches and state.exists():
                batch = read_for_collecting(path, state=state)
                self._batches[key] = _Place(board=Board(batch, words=self._words), folders=Folders.of(batch))

    # --- acting ---

    def ask(self, batch: str, action: str, jobs: Sequence[int] | None) -> dict[str, Any]:
        """What an action would do and cost, with a ticket to carry out just that.

        Raises:
            BatchrunnerError: it cannot be done.
            KeyError: there is no such batch or action.
        """
        place = self._batches[batch]
        if action == "retry":
            lines, do = self._ask_retry(place, jobs)
        else:
            asked = {"pause": self._ask_pause, "resume": self._ask_resume, "cancel": self._ask_cancel}
            lines, do = asked[action](place)
        now = time.monotonic()
        self._tickets = {key: each for key, each in self._tickets.items() if each.until > now}
        while len(self._tickets) >= _TICKETS:
            self._tickets.pop(next(iter(self._tickets)))
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = _Ticket(batch=batch, do=do, until=now + TICKET_S)
        return {"lines": [self._clean(line) for line in lines], "ticket": ticket}

    async def carry_out(self, batch: str, ticket: str) -> str:
        """Do what was shown under a ticket, once; what was done, in words.

        Raises:
            BatchrunnerError: it cannot be done.
            KeyError: there is no such ticket.
        """
        found = self._tickets.pop(ticket)
        if found.batch != batch or found.until < time.monotonic():
            raise KeyError(ticket)
        return self._clean(await found.do())

    async def leave(self) -> None:
        """End what was begun here: at once, and nothing is lost by it."""
        tasks = [each.retry for each in self._batches.values() if each.retry is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_pause(self, place: _Place) -> tuple[list[str], Callable[[], Awaitable[str]]]:
        run = _going_on(place)
        summary = place.board.summary()
        bought = sum(summary.by_state.get(str(state), 0) for state in BOUGHT)
        lines = [
            "It costs nothing. Nothing more is bought until somebody resumes; the run waits meanwhile.",
            f"{_jobs(bought)} already bought will be collected. {summary.totals.charged:,} credits are charged so far.",
        ]
        return lines, lambda: self._wish(place, run, is_paused=True)

    def _ask_resume(self, place: _Place) -> tuple[list[str], Callable[[], Awaitable[str]]]:
        run = _going_on(place)
        summary = place.board.summary()
        count, hold, unpriced = boards.to_buy(place.board.jobs())
        more = f", {unpriced:,} of them without a known price" if unpriced else ""
        lines = [f"The run goes on to buy what was agreed to: {_jobs(count)} for {hold:,} credits at the most{more}."]
        if summary.cap is not None:
            spent = summary.totals.charged + summary.reserved
            lines.append(f"The manifest's cap is {summary.cap:,} credits, of which {spent:,} are charged or reserved.")
        return lines, lambda: self._wish(place, run, is_paused=False)

    async def _wish(self, place: _Place, run: str, *, is_paused: bool) -> str:
        try:
            await asyncio.to_thread(
                control.write, place.board.batch.state.resolve(), Wish(run=run, is_paused=is_paused)
            )
        except OSError as error:
            raise UsageError(f"cannot write beside the state file: {error.strerror or error}") from error
        return "The buying pauses within a moment." if is_paused else "The buying goes on within a moment."

    def _ask_retry(self, place: _Place, jobs: Sequence[int] | None) -> tuple[list[str], Callable[[], Awaitable[str]]]:
        batch = place.board.batch
        _refuse_second(place)
        _refuse_locked(batch.state)
        plan = self._hands.plan(batch.path, _chosen(place.board, jobs))
        bought = [entry for entry in plan.made.entries if entry.will_buy and entry.action in BUYS]
        if not bought:
            raise UsageError("there is no such failed or canceled job that can be tried again")
        caps = [self._hands.cap_words] if self._hands.cap_words else []
        return [*_priced(plan), *_hours(plan), *caps], lambda: self._begin_retry(place, plan)

    async def _begin_retry(self, place: _Place, plan: Priced) -> str:
        _refuse_second(place)
        place.is_beginning = True  # before anything is waited for: two may ask in the same moment
        try:
            await asyncio.to_thread(_refuse_locked, place.board.batch.state)
            hours = _hours(plan)
            place.retries = self._clean("; ".join(["a retry that was begun here is not over", *hours]))
            place.retry = asyncio.create_task(self._retry(place, plan))
        finally:
            place.is_beginning = False
        return self._clean("; ".join(["The retry has begun", *hours]) + ".")

    async def _retry(self, place: _Place, plan: Priced) -> None:
        try:
            await self._hands.run(plan, lambda text: place.tell(self._clean(text)))
            text = "the retry is over"
        except BatchrunnerError as error:
            text = f"the retry did not begin, or ended early: {error}" + (f" ({error.hint})" if error.hint else "")
        except asyncio.CancelledError:
            place.tell("the retry was called off")
            raise
        place.tell(self._clean(text))

    def _ask_cancel(self, place: _Place) -> tuple[list[str], Callable[[], Awaitable[str]]]:
        retry = place.retry
        if retry is None or retry.done():
            raise UsageError("no retry that was begun here goes on")
        lines = ["It costs nothing. The retry that was begun here ends at once, whether it waits or runs."]
        return [*lines, "What it has bought already is collected by the next run."], lambda: self._cancel(retry)

    async def _cancel(self, retry: asyncio.Task[None]) -> str:
        retry.cancel()
        await asyncio.wait([retry])
        return "The retry is called off."


def _going_on(place: _Place) -> str:
    """The id of the run that goes on.

    Raises:
        UsageError: none does.
    """
    run = place.board.summary().run
    if run is None or not run.is_going_on:
        raise UsageError("no run goes on")
    return run.id


def _refuse_second(place: _Place) -> None:
    """Refuse a retry beside one that was begun here.

    Raises:
        UsageError: there is one.
    """
    if place.is_retrying:
        raise UsageError("a retry that was begun here still goes on", hint="wait for its end, or call it off")


def _hours(plan: Priced) -> list[str]:
    """When a retry may buy, in words; none where that is at any time."""
    hours = waiting.planned(plan.batch, waiting.Asked()).hours
    return waiting.words(hours, time.time())


def _refuse_locked(state: Path) -> None:
    """Refuse, in the words of the command line, what another run stands in the way of.

    Raises:
        StateLocked: it holds the state file.
    """
    with statelock.locked(state.resolve()) as is_ours:
        if not is_ours:
            raise store.locked(state.resolve())


def _chosen(board: Board, jobs: Sequence[int] | None) -> Selection:
    """The jobs that are named by their numbers; all without."""
    if jobs is None:
        return EVERYTHING
    named = [board.job(number) for number in jobs]
    # An id may have brackets in it, which mean something else in a pattern.
    only = tuple(escape(job.id) for job in named if job is not None and job.state in BROKEN)
    if not only:
        raise UsageError("there is no failed or canceled job among these")
    return Selection(only=only)


def _priced(plan: Priced) -> list[str]:
    """What a retry would buy, by the reason the jobs came to nothing, and its price."""
    made = plan.made
    bill = made.bill()
    lines = [f"{_jobs(bill.jobs)} to try again: {bill.expected:,} credits expected, {bill.hold:,} at the most."]
    if bill.unpriced:
        lines.append(f"{bill.unpriced:,} of them have no known price.")
    codes = Counter(code_of(entry.known) for entry in made.entries if entry.will_buy and entry.known)
    for code, count in codes.most_common(MOST_IDS):
        again = "; the input or the request is at fault: the same again fails again"
        lines.append(f"{code}: {_jobs(count)}{again if retrying.blames_the_input(code) else ''}.")
    if plan.balance is not None:
        lines.append(f"The account has {plan.balance:,} credits.")
    return lines


def _jobs(count: int) -> str:
    return f"{count:,} job" if count == 1 else f"{count:,} jobs"
