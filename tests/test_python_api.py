"""Python's way to everything: the plan that was looked at is bought, events are told, and nothing paid is lost."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import json
import logging
from pathlib import Path
import re
import shutil
import subprocess
import sys
import threading

import httpx
import pytest

import batchrunner
from batchrunner import (
    Access,
    Dashboard,
    Exit,
    JobEvent,
    ManifestError,
    NotAgreed,
    PlanMoved,
    Selection,
    StateLocked,
    UsageError,
    account,
    adopt,
    compare_charges,
    config,
    download,
    examine,
    ledger,
    load,
    models,
    plan,
    plan_redo,
    plan_retry,
    reconcile,
    report_text,
    resolve,
    run,
    run_async,
    schema,
    start,
    status,
    validate,
    write_manifest,
    write_report,
    write_retry,
)
from batchrunner.api.pipe import Pipe
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support.media import write_still
from tests.support.program import Provider

JOB = "  - {{id: {id}, kind: image-to-video, input: a.png, end_seconds: {seconds}, style: {{prompt: {id}}}}}\n"


def manifest_of(folder: Path, media: Path, *ids: str, more: str = "", seconds: int = 5) -> Path:
    shutil.copy(media / "a.png", folder)
    manifest = folder / "night.yaml"
    head = f"version: 1\nname: {folder.name}\n{more}"
    head += "defaults: {image-to-video: {model: kling-3.0, resolution: 720p}}\njobs:\n"
    manifest.write_text(head + "".join(JOB.format(id=each, seconds=seconds) for each in ids))
    return manifest


@pytest.fixture
def access(provider):
    return Access(base_url=provider.base_url, key=API_KEY)


@pytest.fixture
def own(tmp_path, request):
    """A provider of the test's own, that misbehaves as the test's marker says."""
    (tmp_path / "faults.json").write_text(json.dumps(getattr(request, "param", [])))
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=100_000, faults=tmp_path / "faults.json")
    with launch.start(settings) as running:
        yield Provider(base_url=running.base_url)


# --- what is bought --------------------------------------------------------------------------------------------------


def test_what_the_plan_shows_is_bought_and_brought_to_disk(tmp_path, media, access, provider, capfd):
    batch = load(manifest_of(tmp_path, media, "one", "two"))
    looked_at = plan(batch, access=access)
    assert looked_at.to_render == 2
    assert looked_at["one"].action == "render"
    with pytest.raises(KeyError, match="elsewhere"):
        looked_at["elsewhere"]
    assert looked_at.balance is not None
    told: list[JobEvent] = []
    threads = set()

    def tell(event: JobEvent) -> None:
        told.append(event)
        threads.add(threading.current_thread())

    result = run(looked_at, access=access, on_event=tell, events=tmp_path / "events.jsonl", log=tmp_path / "log")
    assert result.is_complete
    assert result.totals.charged == looked_at.price.hold
    assert all(file.stat().st_size for job in result.jobs for file in job.files)
    assert len(provider.creates(tmp_path.name)) == 2
    happened = [event.event for event in told if event.job == "one"]
    assert (happened[0], happened[-1]) == ("opened", "downloaded")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(json.dumps(event.line())) for event in told]
    assert threads == {threading.current_thread()}
    assert API_KEY not in (tmp_path / "log").read_text()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_bought_without_a_word_that_allows_it(tmp_path, media, access, provider):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(NotAgreed, match=r"1 job for .* credits"):
        run(batch, access=access)
    assert provider.creates(tmp_path.name) == []
    assert run(batch, access=access, yes=True).is_complete
    # Where nothing would be bought, no word is needed.
    assert run(batch, access=access).is_complete
    assert len(provider.creates(tmp_path.name)) == 1


def test_no_more_is_spent_than_was_allowed(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one", "two"))
    price = plan(batch, access=access).price.hold
    result = run(batch, access=access, max_credits=price - 1)
    assert result.exit_code is Exit.BUDGET_REACHED
    assert result.held_back == 1
    assert result.totals.charged == price // 2


def test_what_moved_since_the_plan_is_refused_and_named(tmp_path, media, access, provider):
    manifest = manifest_of(tmp_path, media, "one")
    looked_at = plan(load(manifest), access=access)
    looked_at.save(tmp_path / "saved")
    write_still(tmp_path / "a.png", hue=0.9)
    with pytest.raises(PlanMoved, match=r"one: .*a\.png"):
        run(looked_at, access=access)
    with pytest.raises(PlanMoved, match=r"one: .*a\.png"):
        run(load(manifest), access=access, saved=tmp_path / "saved")
    again = plan(load(manifest), access=access)
    manifest.write_text(manifest.read_text() + "# another text\n")
    with pytest.raises(PlanMoved, match="its text"):
        run(again, access=access)
    with pytest.raises(PlanMoved, match="the account's plan: pro -> creator"):
        run(replace(plan(load(manifest), access=access), tier="pro"), access=access)
    assert provider.creates(tmp_path.name) == []


def test_no_cap_is_no_word(tmp_path, media, access, provider):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(NotAgreed):
        run(batch, access=access, max_credits=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="choose one"):
        run(batch, access=access, sandbox=True)
    assert provider.creates(tmp_path.name) == []


def test_a_plan_says_already_what_is_to_be_done(tmp_path, media, access):
    looked_at = plan(load(manifest_of(tmp_path, media, "one")), access=access)
    with pytest.raises(UsageError, match="select is for run"):
        start(looked_at, select=Selection(only=("one",)))


def test_a_rehearsal_needs_no_key_and_no_word(tmp_path, media):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(UsageError, match="no API key"):
        run(batch, yes=True)
    without_account = plan(batch)
    assert without_account.balance is None
    result = run(without_account, sandbox=True, sandbox_scale=0.1)
    assert result.is_complete


# --- following, stopping, leaving ------------------------------------------------------------------------------------


async def test_a_run_is_stopped_from_outside_and_collects_what_was_bought(tmp_path, media, own):
    access = Access(base_url=own.base_url, key=API_KEY)
    ids = [f"job{number}" for number in range(12)]
    batch = load(manifest_of(tmp_path, media, *ids, more="limits: {in_flight: 2}\n"))
    async with start(batch, access=access, yes=True) as running:
        async for event in running:
            if event.event == "accepted":
                running.stop()
    result = running.result
    assert result.exit_code is Exit.INTERRUPTED
    assert result.stopped == "interrupted"
    bought = own.creates_by_job(tmp_path.name)
    assert 1 <= len(bought) < 12
    assert {job.id for job in result.jobs if job.state == "done"} == set(bought)


async def test_a_canceled_run_leaves_at_once_and_the_next_one_goes_on(tmp_path, media, access, provider):
    batch = load(manifest_of(tmp_path, media, "one", "two", "three"))
    accepted = asyncio.Event()

    def tell(event: JobEvent) -> None:
        if event.event == "accepted":
            accepted.set()

    task = asyncio.create_task(run_async(batch, access=access, yes=True, on_event=tell))
    await asyncio.wait_for(accepted.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The lock is free again: nothing of the run is left behind.
    result = await run_async(batch, access=access, yes=True)
    assert result.is_complete
    assert provider.creates_by_job(tmp_path.name) == {"one": 1, "two": 1, "three": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_credits": "500"}, "max_credits is a whole number of credits, 0 or more, not '500'"),
        ({"max_credits": float("nan")}, "max_credits is a whole number of credits, 0 or more, not nan"),
        ({"max_credits": 0.5}, "not 0.5"),
        ({"max_credits": -1}, "not -1"),
        ({"max_credits_per_job": True}, "max_credits_per_job is a whole number of credits, 0 or more, not True"),
        ({"cutoff": "never"}, "cutoff is soft or hard, not 'never'"),
        ({"canary": True}, "canary is go or stop, not True"),
        ({"yes": "no"}, "yes is True or False, not 'no'"),
        ({"select": "one"}, "select is a Selection, not 'one'"),
    ],
)
def test_a_value_of_the_wrong_sort_is_refused_before_anything_is_done(tmp_path, media, options, said):
    batch = load(manifest_of(tmp_path, media, "one"))
    nowhere = Access(base_url="http://127.0.0.1:9", key="none")
    with pytest.raises(UsageError, match=re.escape(said)):
        start(batch, access=nowhere, **options)


@pytest.mark.parametrize(
    "given", [{"only": "hero"}, {"tags": ["a"]}, {"states": (1,)}, {"limit": 0}, {"limit": True}, {"sample": "3"}]
)
def test_a_selection_of_the_wrong_sort_is_refused(given):
    with pytest.raises(UsageError, match=f"Selection: {next(iter(given))} is a "):
        Selection(**given)


async def test_a_run_outside_its_block_is_not_waited_for(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    never_begun = start(batch, access=access, yes=True)
    with pytest.raises(UsageError, match="use it in a with block"):
        next(iter(never_begun))
    with pytest.raises(UsageError, match="use it in a with block"):
        await asyncio.wait_for(anext(aiter(never_begun)), 10)
    running = start(batch, access=access, yes=True)
    async with running:
        running.stop()
    with pytest.raises(UsageError, match="entered before"):
        async with running:
            pass


async def test_an_exception_in_the_block_leaves_at_once(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    running = start(batch, access=access, yes=True)

    async def fail() -> None:
        async with running:
            async for _ in running:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(UsageError, match="has no result"):
        _ = running.result
    assert (await run_async(batch, access=access, yes=True)).is_complete


def test_a_callback_that_fails_loses_nothing_paid(tmp_path, media, access, provider):
    batch = load(manifest_of(tmp_path, media, "one", "two", more="limits: {in_flight: 1}\n"))
    calls = []

    def fail(event: JobEvent) -> None:
        calls.append(event)
        if event.event == "accepted":
            raise ZeroDivisionError(event.job)

    with pytest.raises(ZeroDivisionError):
        run(batch, access=access, yes=True, on_event=fail)
    bought = set(provider.creates_by_job(tmp_path.name))
    assert bought
    assert calls[-1].event == "accepted"  # it is not called again
    assert {job.id for job in status(batch).jobs if job.state == "done"} == bought


def test_the_end_of_a_block_waits_for_the_end_of_the_run(tmp_path, media, access):
    with start(load(manifest_of(tmp_path, media, "one")), access=access, yes=True) as running:
        pass
    assert running.result["one"].state == "done"


def test_an_interrupt_of_the_one_who_waits_leaves_at_once(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))

    def interrupt(_event: JobEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(batch, access=access, yes=True, on_event=interrupt)
    assert status(batch)["one"].state != "done"
    assert run(batch, access=access, yes=True).is_complete


def event_of(number: int) -> JobEvent:
    return JobEvent(
        at="2026-01-01T00:00:00.000Z",
        run="r",
        job=str(number),
        kind="image-to-video",
        attempt=1,
        event="looked",
        state="rendering",
        project_id=None,
        submission=None,
        credits=batchrunner.Credits(estimated=None, held=None, charged=None),
        failure=None,
        evidence=None,
        then=None,
        again_at=None,
        outputs=(),
        suspect=None,
    )


def test_a_slow_consumer_makes_nobody_wait_and_takes_no_more_room():
    pipe = Pipe(most=3)
    for number in range(10):
        pipe.put(event_of(number))
    pipe.close()
    assert pipe.missed == 7
    assert [event.job for event in iter(pipe.get, None)] == ["7", "8", "9"]


async def test_events_reach_a_loop_from_another_thread():
    pipe = Pipe()

    def write() -> None:
        for number in range(100):
            pipe.put(event_of(number))
        pipe.close()

    thread = threading.Thread(target=write)
    reader = asyncio.create_task(pipe.get_async())
    await asyncio.sleep(0)
    thread.start()
    first = await reader
    rest = [event async for event in everything(pipe)]
    thread.join()
    assert [event.job for event in (first, *rest) if event is not None] == [str(number) for number in range(100)]


async def everything(pipe: Pipe):
    while (event := await pipe.get_async()) is not None:
        yield event


async def test_what_would_block_an_event_loop_names_its_twin(tmp_path, media):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(UsageError, match=r"await run_async\(…\)"):
        run(batch, yes=True)
    with pytest.raises(UsageError, match=r"await account_async\(…\)"):
        account(Access(key="key"))
    with pytest.raises(UsageError, match=r"async with start\(…\)"), start(batch, yes=True):
        pass
    with pytest.raises(UsageError, match=r"await download_async\(…\)"):
        download(batch)
    with pytest.raises(UsageError, match=r"await reconcile_async\(…\)"):
        reconcile(batch)


async def test_two_runs_go_on_in_one_process_and_a_second_on_one_manifest_is_refused(tmp_path, media, access, caplog):
    caplog.set_level(logging.INFO, logger="batchrunner")
    folders = [tmp_path / "north", tmp_path / "south"]
    batches = []
    for folder in folders:
        folder.mkdir()
        batches.append(load(manifest_of(folder, media, "one")))
    results = await asyncio.gather(*(run_async(each, access=access, yes=True) for each in batches))
    assert all(result.is_complete for result in results)
    assert "spends from the same account" in caplog.text
    more = load(manifest_of(folders[0], media, "one", "two"))
    async with start(more, access=access, yes=True) as running:
        async for event in running:
            if event.event == "opened":
                with pytest.raises(StateLocked):
                    await run_async(more, access=access, yes=True)
    assert running.result.is_complete


# --- the rest of the commands ----------------------------------------------------------------------------------------


BROKEN = [{"step": "render", "job": "*/one*", "count": 1, "render_error": {"code": "invalid_input", "message": "no"}}]


@pytest.mark.parametrize("own", [BROKEN], indirect=True)
def test_what_failed_is_tried_again_by_reason(tmp_path, media, own):
    access = Access(base_url=own.base_url, key=API_KEY)
    manifest = manifest_of(tmp_path, media, "one", "two")
    result = run(load(manifest), access=access, yes=True)
    assert result.exit_code is Exit.JOBS_FAILED
    assert result["one"].error is not None
    assert result["one"].error.code == "invalid_input"
    assert write_retry(load(manifest), tmp_path / "again.yaml") == 1
    assert [job.id for job in load(tmp_path / "again.yaml").jobs] == ["one"]
    with pytest.raises(UsageError, match="only failed and canceled jobs"):
        plan_retry(load(manifest), select=Selection(states=("done",)))
    again = plan_retry(load(manifest), codes=("invalid_input",), access=access)
    assert (again["one"].action, again["two"].action, again.to_render) == ("retry", "skip", 1)
    assert run(again, access=access)["one"].attempt.number == 2
    assert status(manifest).by_state == {"done": 2}


def test_reading_checking_and_the_first_manifest(tmp_path, media):
    manifest = manifest_of(tmp_path, media, "one")
    assert validate(manifest) == ()
    assert config(manifest).as_values()["jobs"][0]["id"] == "one"
    manifest.write_text(manifest.read_text().replace("720p", "721p"))
    with pytest.raises(ManifestError) as refused:
        load(manifest)
    assert refused.value.problems[0].place.line > 1
    assert "jobs" in schema()["properties"]
    assert models().models
    made = write_manifest(media, tmp_path / "made.yaml")
    assert plan(load(made)).to_render == 4
    with pytest.raises(UsageError, match="there already"):
        write_manifest(media, made)


def test_the_account_the_books_and_the_set_up(tmp_path, media, access, monkeypatch):
    assert account(access).tier == "creator"
    manifest = manifest_of(tmp_path, media, "one")
    with pytest.raises(UsageError, match="no state file"):
        ledger(manifest)
    run(load(manifest), access=access, yes=True)
    books = ledger(manifest)
    assert books.net == status(manifest).totals.charged > 0
    assert books.refunds_due == ()
    assert compare_charges(manifest)[0].count == 1
    monkeypatch.setenv("MAGIC_HOUR_API_KEY", access.key)
    monkeypatch.setenv("MAGIC_HOUR_BASE_URL", access.base_url)
    assert examine(manifest).findings
    found = reconcile(manifest)
    assert (found.not_charged, found.uncertain, found.still_open) == ({}, (), ())


def test_a_deleted_file_is_fetched_and_another_take_lies_beside_it(tmp_path, media, access, provider):
    manifest = manifest_of(tmp_path, media, "one")
    batch = load(manifest)
    (file,) = run(batch, access=access, yes=True)["one"].files
    file.unlink()
    assert download(manifest, access=access).is_complete
    assert file.stat().st_size
    take = plan_redo(batch, "one", {"style.prompt": "12"}, access=access)
    assert take.to_render == 1
    done = run(take, access=access)["one"]
    assert done.attempt.number == 2
    assert len(done.earlier) == 1
    assert done.files != (file,)
    assert done.attempt.set == ('style.prompt="12"',)
    assert provider.creates_by_job(tmp_path.name) == {"one": 2}


def test_a_decision_is_taken_for_no_job_that_waits_for_none(tmp_path, media, access):
    manifest = manifest_of(tmp_path, media, "one")
    run(load(manifest), access=access, yes=True)
    with pytest.raises(UsageError, match="say what became of it"):
        resolve(manifest, "one")
    with pytest.raises(UsageError, match="is done, not uncertain"):
        resolve(manifest, "one", not_created=True)
    with pytest.raises(UsageError, match="is done, not uncertain"):
        adopt(manifest, "one", "some-id", access=access)


# --- the surface -----------------------------------------------------------------------------------------------------


def test_a_key_shows_in_no_text():
    access = Access(key="mhk_secret")
    assert "mhk_secret" not in f"{access!r} {access!s}"
    with pytest.raises(UsageError) as refused:
        Access(key="mhk secret")
    assert "secret" not in str(refused.value)


def test_every_public_name_is_there_and_known_to_type_checkers():
    for name in batchrunner.__all__:
        assert getattr(batchrunner, name) is not None
    tree = ast.parse(Path(batchrunner.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and not isinstance(node.test, ast.UnaryOp)]
    told = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == set(batchrunner.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = batchrunner.no_such_name  # type: ignore[attr-defined]


def test_no_public_name_is_a_module_of_ours():
    modules = {path.stem for path in Path(batchrunner.__file__).parent.iterdir()}
    assert modules.isdisjoint(batchrunner.__all__)


def test_nothing_is_imported_before_it_is_asked_for():
    text = "import sys, batchrunner; print(sorted(each for each in sys.modules if each.startswith('batchrunner')))"
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['batchrunner']"


# --- when may be bought ----------------------------------------------------------------------------------------------


def test_a_run_keeps_to_a_window_and_its_plan_says_when_it_is_done(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    looked = plan(batch, access=access)
    assert looked.forecast is not None
    assert looked.forecast.basis == "the moment that a sandbox takes"
    ended = run(looked, access=access, stop_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert ended.exit_code is Exit.WINDOW_OVER
    with pytest.raises(UsageError, match="25:00"):
        run(looked, access=access, start_at="25:00")
    later = datetime.now(UTC) + timedelta(hours=2)
    assert run(plan(batch, access=access), access=access, start_at="now", finish_by=later).is_complete


def test_a_run_that_waits_for_its_hour_can_be_stopped(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    with start(batch, access=access, yes=True, start_at=datetime(2090, 1, 1, tzinfo=UTC)) as running:
        running.stop()
    assert running.result.exit_code is Exit.INTERRUPTED


def test_hours_of_a_plan_are_kept_by_its_run(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    over = datetime(2020, 1, 1, tzinfo=UTC)
    looked = plan(batch, access=access, stop_at=over)
    assert looked.hours.stops_at == over.timestamp()
    assert run(looked, access=access).exit_code is Exit.WINDOW_OVER
    later = datetime.now(UTC) + timedelta(hours=2)
    assert run(plan(batch, access=access, stop_at=over), access=access, stop_at=later).is_complete


def test_a_status_says_what_waits_and_why(tmp_path, media, access):
    manifest = manifest_of(tmp_path, media, "one", "two")
    text = manifest.read_text().replace("id: two,", "id: two, needs: one,")
    assert text != manifest.read_text()
    manifest.write_text(text)
    batch = load(manifest)
    assert plan(batch, access=access)["two"].waits_for == ("one",)
    run(batch, access=access, yes=True, stop_at=datetime(2020, 1, 1, tzinfo=UTC))
    told = status(batch)
    assert (told["two"].waits_for, told["two"].reason) == (("one",), "waits for one, which is not bought yet")
    assert status(batch, select=Selection(only=("two",)))["two"].reason == told["two"].reason
    assert (told.is_running, told.waits, told.forecast, told["two"].library) == (False, (), None, None)


def test_a_report_is_text_or_a_file_and_never_in_place_of_anything_else(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(UsageError, match="no state file"):
        write_report(batch)
    run(batch, access=access, yes=True)
    page = write_report(batch)
    assert page == batch.path.with_name(f"{batch.path.stem}.report.html")
    assert "data:image/" in page.read_text()
    assert "data:image/" not in report_text(batch, pictures=False)
    assert write_report(batch, page, assets=tmp_path / "pictures") == page
    assert list((tmp_path / "pictures").iterdir()) != []
    assert json.loads(report_text(batch, form="json"))["totals"]["by_state"] == {"done": 1}
    assert report_text(batch, form="csv", select=Selection(only=("one",))).count("\n") == 2
    with pytest.raises(UsageError, match="part of the batch"):
        write_report(batch, batch.path)
    with pytest.raises(UsageError, match="name the file"):
        write_report(batch, form="md")
    with pytest.raises(UsageError, match="form is html, md, json, csv or junit, not 'pdf'"):
        report_text(batch, form="pdf")  # type: ignore[arg-type]


def test_a_dashboard_is_served_as_long_as_its_block(tmp_path, media, access):
    batch = load(manifest_of(tmp_path, media, "one"))
    run(batch, access=access, yes=True)
    with Dashboard(batch.path, max_credits=5) as address:
        url, _, token = address.partition("/#token=")
        (board,) = httpx.get(f"{url}/api/overview").json()
        assert (board["name"], board["over"], bool(token)) == (batch.path.name, 1, True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with pytest.raises(UsageError, match=r"there is no gone\.yaml"), Dashboard("gone.yaml"):
        pass


async def test_a_dashboard_is_served_beside_a_loop(tmp_path, media, own):
    batch = load(manifest_of(tmp_path, media, "one"))
    await run_async(batch, access=Access(base_url=own.base_url, key=API_KEY), yes=True)
    async with Dashboard(batch.path.parent) as address, httpx.AsyncClient() as client:
        (board,) = (await client.get(f"{address.partition('/#')[0]}/api/overview")).json()
        assert board["over"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_credits": "5"}, "max_credits is a whole number of credits, 0 or more, not '5'"),
        ({"max_credits_per_job": True}, "max_credits_per_job is a whole number of credits, 0 or more, not True"),
        ({"port": 70_000}, "port is a whole number from 0 to 65535, not 70000"),
        ({"port": "80"}, "port is a whole number from 0 to 65535, not '80'"),
        ({"host": None}, "host is the name or the address of this machine as text, not None"),
        ({"variables": {"LOOK": 1}}, "variables is a mapping of names to texts"),
    ],
)
def test_a_dashboard_is_not_begun_with_a_value_of_the_wrong_sort(tmp_path, options, said):
    with pytest.raises(UsageError, match=re.escape(said)), Dashboard(tmp_path, **options):
        pass


@pytest.mark.parametrize("ask", [plan, plan_retry, status, download, report_text, write_report])
def test_whatever_takes_a_selection_refuses_what_is_none(tmp_path, media, ask):
    batch = load(manifest_of(tmp_path, media, "one"))
    with pytest.raises(UsageError, match="select is a Selection, not 'one'"):
        ask(batch, select="one")


def test_variables_of_the_wrong_sort_are_refused(tmp_path, media):
    manifest = manifest_of(tmp_path, media, "one")
    for ask in (load, validate, config):
        with pytest.raises(UsageError, match="variables is a mapping of names to texts"):
            ask(manifest, variables={"LOOK": 1})  # type: ignore[dict-item]


async def test_pages_name_their_twins_where_an_event_loop_runs(tmp_path, media, own):
    batch = load(manifest_of(tmp_path, media, "one"))
    await run_async(batch, access=Access(base_url=own.base_url, key=API_KEY), yes=True)
    with pytest.raises(UsageError, match=re.escape("use await report_text_async(…)")):
        report_text(batch)
    with pytest.raises(UsageError, match=re.escape("use await write_report_async(…)")):
        write_report(batch)
    with pytest.raises(UsageError, match=re.escape("use async with Dashboard(…)")), Dashboard(batch):
        pass
    assert "one" in await batchrunner.report_text_async(batch)
    assert (await batchrunner.write_report_async(batch)).is_file()


async def test_a_dashboard_whose_beginning_is_called_off_is_not_left_behind(tmp_path):
    dashboard = Dashboard(tmp_path)
    beginning = asyncio.create_task(dashboard.__aenter__())
    await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert "batchrunner-dashboard" not in {each.name for each in threading.enumerate()}
    async with dashboard as address:
        assert address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("own", [[{"step": "render", "count": 1, "render_error": {"code": "nsfw"}}]], indirect=True)
def test_a_dashboard_of_a_batch_retries_with_the_provider_that_it_was_given(tmp_path, media, own, monkeypatch):
    for name in ("MAGIC_HOUR_API_KEY", "MAGIC_HOUR_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    manifest = manifest_of(tmp_path, media, "one", more="retry: {render: {nsfw: 0}}\n")
    batch = load(manifest, state=tmp_path / "elsewhere.db")
    access = Access(base_url=own.base_url, key=API_KEY)
    assert run(batch, access=access, yes=True)["one"].state == "failed"
    with Dashboard(batch) as address, httpx.Client() as client:
        url, _, token = address.partition("/#token=")
        client.headers.update({"X-Batchrunner-Token": token, "Origin": url})
        (board,) = client.get(f"{url}/api/overview").json()
        refused = client.post(f"{url}/api/m/{board['id']}/ask", json={"action": "retry"})
        assert (refused.status_code, refused.json()["error"]) == (409, "there is no API key")
    with Dashboard(batch, access=access) as address, httpx.Client() as client:
        url, _, token = address.partition("/#token=")
        client.headers.update({"X-Batchrunner-Token": token, "Origin": url})
        (board,) = client.get(f"{url}/api/overview").json()
        asked = client.post(f"{url}/api/m/{board['id']}/ask", json={"action": "retry"}).json()
        assert "The account has" in " ".join(asked["lines"])
        client.post(f"{url}/api/m/{board['id']}/do", json={"ticket": asked["ticket"]}).raise_for_status()
        with client.stream("GET", f"{url}/api/m/{board['id']}/events", timeout=60) as told:
            for line in told.iter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["summary"]["by_state"] == {"done": 1}:
                    break
    assert status(batch)["one"].state == "done"
