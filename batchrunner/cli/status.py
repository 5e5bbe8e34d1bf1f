"""`status`: how far a batch is, from its state file; also while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchrunner.cli import colours, doubts, options, show
from batchrunner.commands import Typed
from batchrunner.core import address as addresses, plain
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.core.forecast import Forecast
    from batchrunner.core.job import Job
    from batchrunner.core.selection import Selection
    from batchrunner.core.totals import Totals
    from batchrunner.present import Now
    from batchrunner.stateview import View


@click.command(short_help="Show how far a batch is: jobs, credits, files.")
@options.manifest
@options.selecting
@options.as_json
@click.option("--watch", is_flag=True, help="Follow the run that goes on until it ends; without a terminal, as lines.")
def status(manifest: Path, *, selection: Selection, state: Path | None, as_json: bool, watch: bool) -> int:
    """Show how far MANIFEST is: every job, its credits and its file.

    Reads the state file only; jobs are selected by the tags and the priority that they were last opened with.
    """
    from batchrunner import present, statefile, stateread
    from batchrunner.core.selection import EVERYTHING, facts_of, refuse_unmatched
    from batchrunner.core.totals import Totals, totals_of
    from batchrunner.errors import UsageError

    if watch:
        return _watch(manifest, selection, state, as_json=as_json)
    path = state or statefile.path_for(manifest)
    if not path.exists() and not manifest.exists():
        from batchrunner import places

        raise UsageError(f"there is neither {manifest} nor {path}", hint=places.hint_for_no_manifest(manifest))
    with stateread.open_to_read(path) as view:
        everything = jobs = view.jobs() if view else []
        earlier = view.earlier() if view else []
        totals = view.totals() if view else Totals()
        pauses = present.pauses(view) if view else {}
        now = present.read(view) if view else None
        forecast = _forecast(view, jobs) if view and view.is_in_use else None
    typed = Typed(manifest=manifest, flags={"state": state})
    is_new = not jobs
    if jobs and selection != EVERYTHING:
        refuse_unmatched(selection, map(facts_of, jobs))
        chosen = selection.choose(map(facts_of, jobs))
        jobs, earlier = ([job for job in some if job.id in chosen] for some in (jobs, earlier))
        totals = totals_of([*earlier, *jobs])
    if as_json:
        from batchrunner import shapes

        made = shapes.status(manifest, path, jobs, totals, typed, earlier=earlier, among=everything)
        more = {"pauses": pauses, "forecast": shapes.of_forecast(forecast), **present.shape(now)}
        show.as_json(made | more)
        return Exit.OK
    if is_new:
        show.line(f"{manifest}: nothing has been run yet")
        show.say(f"next: {typed.command('plan')}")
        return Exit.OK
    print_jobs(jobs, folder=manifest.parent, among=everything, earlier=earlier)
    show.line("")
    print_summary(jobs, totals, on_stdout=True)
    if forecast is not None:
        from batchrunner import clock
        from batchrunner.cli import plan

        for line in plan.forecast_lines(forecast, clock.now()):
            show.line(line)
    _print_waiting(jobs, pauses, now, typed)
    return Exit.OK


def _forecast(view: View, jobs: Sequence[Job]) -> Forecast | None:
    """When the run that goes on will be done; who looks at a batch that is at rest does not wait for this to load."""
    from batchrunner import foresight

    return foresight.of_run(view, jobs)


def _print_waiting(jobs: Sequence[Job], pauses: Mapping[str, str], now: Now | None, typed: Typed) -> None:
    """Why nothing starts, and what waits for a person."""
    for step, words in pauses.items():
        show.words(plain.cell(f"{step}: {words}"))
    for wait in now.waits if now else ():
        show.words(plain.cell(f"waiting: {show.plural(wait.jobs, 'job')} ({wait.step}): {wait.why}"))
    for why in now.stalls if now else ():
        show.words(plain.cell(f"waiting: {why}"))
    for job in jobs:
        if job.state == "uncertain":
            for line in doubts.lines(job, typed):
                show.words(line)


def _watch(manifest: Path, selection: Selection, state: Path | None, *, as_json: bool) -> int:
    from batchrunner import batch
    from batchrunner.cli import watching
    from batchrunner.core.selection import EVERYTHING
    from batchrunner.errors import UsageError

    if as_json or selection != EVERYTHING:
        raise UsageError(
            "--watch shows the whole batch, for people",
            hint="`run --events FILE` writes every event for programs; `status --json` tells how far a batch is",
        )
    watching.watch(batch.read_for_collecting(manifest, state=state), Typed(manifest=manifest, flags={"state": state}))
    return Exit.OK


def print_jobs(
    jobs: Sequence[Job], *, folder: Path, among: Iterable[Job] | None = None, earlier: Iterable[Job] = ()
) -> None:
    """Every job as a row on standard output; paths as they can be opened from here.

    `among` are the jobs that these may wait for, where they are more; `earlier` the attempts that were followed by
    another, whose last file is told of while that one has none.
    """
    from batchrunner import inwords

    known = {job.id: job for job in among or jobs}
    before = {job.id: _result(job, folder) for job in earlier if job.outputs}

    def about(job: Job) -> str:
        kept = f"{before[job.id]} of an earlier attempt" if job.id in before else ""
        return _result(job, folder) or "; ".join(filter(None, (inwords.note(job, known), kept)))

    rows = [(job.id, job.kind, job.state, show.credits(job.charged), about(job)) for job in jobs]
    tints = [colours.DOUBTFUL if job.suspect else colours.OF_STATES.get(job.state) for job in jobs]
    headings = ("job", "kind", "state", "credits", "file or reason")
    show.table(headings, rows, right=frozenset({3}), tinted=2, tints=tints)


def _result(job: Job, folder: Path) -> str:
    files = ", ".join(addresses.beneath(folder, output.path) for output in job.outputs)
    return f"{files} (suspect: {job.suspect})" if files and job.suspect else files


def print_summary(
    jobs: Sequence[Job], totals: Totals, *, before: int = 0, at_rest: int = 0, on_stdout: bool = False
) -> None:
    """Jobs by state and the credits of every attempt, in one line; after a run, those charged `before` it apart.

    So many more jobs are done, and were left `at_rest`.
    """
    from batchrunner.core.totals import by_state, charged_words

    states = ", ".join(f"{count:,} {state}" for state, count in by_state(jobs, at_rest=at_rest).items())
    text = f"{show.plural(len(jobs) + at_rest, 'job')}: {states or 'none'}; {charged_words(totals.charged, before)}"
    suspects = sum(job.suspect is not None for job in jobs)
    if suspects:
        text += f"; {suspects:,} suspect"
    if totals.unknown:
        text += f", and {show.plural(totals.unknown, 'charge')} not told by the provider"
    (show.words if on_stdout else show.say)(text)
