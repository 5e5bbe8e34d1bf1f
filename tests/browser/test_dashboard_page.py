"""The dashboard as a person uses it: a run of the sandbox in another process, a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import re
import shutil

import httpx
from playwright.sync_api import expect
import pytest

from batchrunner.provider import LIBRARY
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.desks import Page, dashboard
from tests.support.program import Program, Provider

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
JOBS = 8
MANIFEST = f"""\
version: 1
output: renders/{{id}}.mp4
budget: {{credits: 5000}}
limits: {{in_flight: 2}}
defaults:
  image-to-video: {{end_seconds: 5, model: ltx-2.3, resolution: 480p, style: {{prompt: '{EVIL}'}}}}
jobs:
  - {{id: lost, kind: image-to-video, input: a.png}}
"""


@contextmanager
def work(folder: Path, media: Path, *, latency_s: float) -> Iterator[Program]:
    """A batch, and a provider whose renders take so long; one of its jobs comes to nothing the first time."""
    (folder / "work").mkdir()
    for each in ("a.png", "b.png"):
        shutil.copy(media / each, folder / "work")
    jobs = "".join(f"  - {{id: j{n}, kind: image-to-video, input: {'ab'[n % 2]}.png}}\n" for n in range(1, JOBS))
    (folder / "work" / "night.yaml").write_text(MANIFEST + jobs, encoding="utf-8")
    faults = folder / "faults.json"
    message = {"code": "invalid_parameters", "message": EVIL}
    faults.write_text(json.dumps([{"step": "render", "job": "night/lost*", "count": 1, "render_error": message}]))
    settings = Settings(data_dir=folder / "sandbox", scale=0.2, credits=100_000, latency_s=latency_s, faults=faults)
    with launch.start(settings) as running:
        program = Program(folder=folder / "work", provider=Provider(base_url=running.base_url))
        program.env["XDG_CACHE_HOME"] = str(folder / "cache")
        yield program


@pytest.fixture
def night(tmp_path: Path, media: Path) -> Iterator[Program]:
    with work(tmp_path, media, latency_s=3.0) as program:
        yield program


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Page]:
    """A dashboard of a run that is over, with one job that failed; it is only looked at."""
    with work(tmp_path_factory.mktemp("over"), media, latency_s=0.0) as program:
        assert program.run("run", "night.yaml").code == 4
        with dashboard(program, "night.yaml") as page:
            yield page


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Page]:
    """A dashboard of a run that is over, with one submission of which nobody knows whether it was bought."""
    with work(tmp_path_factory.mktemp("doubtful"), media, latency_s=0.0) as program:
        lost = {"step": "create", "job": "night/lost*", "count": 1, "drop": "after"}
        faults = [lost, {"step": "account", "freeze_balance": True}]
        httpx.put(f"{program.provider.base_url}/_sandbox/faults", json=faults).raise_for_status()
        assert program.run("run", "night.yaml").code == 9
        with dashboard(program, "night.yaml") as page:
            yield page


def board(site, page: Page, **options):
    """The page of the one batch."""
    opened = site(page.address, **options)
    opened.page.get_by_role("link", name="night.yaml").click()
    opened.page.wait_for_selector("#cards .card")
    return opened


def shown(page) -> list[str]:
    return [each.text_content() for each in page.locator("#cards .card h3").all()]


def test_a_run_is_followed_paused_resumed_and_retried(night, site):
    process = night.start("run", "night.yaml")
    with dashboard(night) as desk:
        opened = board(site, desk)
        page = opened.page
        assert desk.token not in page.url
        expect(page.locator("#waits")).to_contain_text("limits.in_flight", timeout=20_000)
        # The gallery fills while the run goes on.
        expect(page.locator(".card .moving img").first).to_be_visible(timeout=30_000)
        assert process.poll() is None
        page.get_by_role("button", name="Pause buying …").click()
        expect(page.locator("#ask-lines")).to_contain_text("It costs nothing.")
        page.get_by_role("button", name="Pause buying", exact=True).click()
        expect(page.locator("#ask-lines")).to_contain_text("pauses")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#run")).to_have_text("buying paused", timeout=10_000)
        expect(page.locator("#states-words")).not_to_contain_text("rendering", timeout=20_000)
        bought = len(night.provider.creates("night"))
        assert bought < JOBS
        page.get_by_role("button", name="Resume buying …").click()
        expect(page.locator("#ask-lines")).to_contain_text("credits at the most")
        page.get_by_role("button", name="Resume buying", exact=True).click()
        expect(page.locator("#ask-lines")).to_contain_text("goes on")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#run")).to_have_text("ended", timeout=60_000)
        process.communicate(timeout=30)
        told = night.status(night.folder / "night.yaml")["totals"]

        def figure(name: str) -> int:
            return int(page.locator(f"#{name}").text_content().replace(",", ""))

        assert (figure("over"), figure("jobs")) == (JOBS, told["jobs"])
        for name in ("charged", "refunded", "estimated"):
            assert figure(name) == told["credits"][name]
        # The one that failed is tried again, at a price that is said first.
        page.get_by_label("Select lost").check()
        page.get_by_role("button", name="Retry selected …").click()
        expect(page.locator("#ask-lines")).to_contain_text("1 job to try again")
        expect(page.locator("#ask-lines")).to_contain_text("at the most")
        assert night.provider.creates_by_job("night")["lost"] == 1
        page.get_by_role("button", name="Retry selected", exact=True).click()
        expect(page.locator("#ask-lines")).to_contain_text("The retry has begun.")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#states-words")).to_have_text(f"{JOBS} done", timeout=30_000)
        expect(page.locator("#log")).to_contain_text("the retry is over", timeout=30_000)
        assert night.provider.creates_by_job("night")["lost"] == 2
        page.goto("about:blank")  # before the server goes away


def test_filters_and_hostile_text(over, site):
    opened = board(site, over)
    page = opened.page
    assert page.locator(".prompt").first.text_content() == EVIL
    assert page.locator("img[src=x]").count() == 0
    page.get_by_role("button", name=re.compile("^failed")).click()
    assert shown(page) == ["lost"]
    assert EVIL in page.locator(".why").first.text_content()
    page.get_by_role("button", name=re.compile("^All")).click()
    page.get_by_label("Find").fill("J3")
    assert shown(page) == ["j3"]
    page.get_by_label("Find").fill("")
    page.get_by_label("Sort by").select_option("order")
    assert shown(page) == ["lost", *(f"j{number}" for number in range(1, JOBS))]
    assert all(url.startswith(over.url) for url in opened.requests)


def test_a_clip_is_played(over, site):
    page = board(site, over).page
    page.get_by_role("button", name="Play j3").click()
    video = page.locator("#play video")
    expect(video).to_be_visible()
    video.evaluate("video => video.readyState > 0 || new Promise(go => { video.onloadedmetadata = go; })")
    assert video.evaluate("video => video.videoWidth") > 0
    page.keyboard.press("Escape")
    expect(page.locator("#play")).not_to_be_visible()
    assert page.locator("#play video").count() == 0


def test_a_card_tells_all_that_happened_to_its_job(over, site, axe):
    opened = board(site, over, bypass_csp=True)
    page = opened.page
    page.get_by_role("button", name="Log of lost").click()
    lines = page.locator("#story-lines li")
    expect(lines.first).to_contain_text("opened")
    expect(lines.last).to_contain_text(EVIL)
    assert page.locator("#story img").count() == 0
    assert opened.violations(axe) == []
    page.keyboard.press("Escape")
    expect(page.locator("#story")).not_to_be_visible()


def test_all_of_it_is_reached_by_the_keyboard(over, site):
    page = board(site, over).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"Retry failed …", "log", "find", "sort"} <= set(reached)
    page.get_by_role("button", name="Retry failed …").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#ask-yes")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).not_to_be_visible()
    assert page.evaluate("document.activeElement.textContent") == "Retry failed …"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(over, site, axe, scheme, width):
    opened = site(over.address, width=width, color_scheme=scheme, bypass_csp=True)
    opened.page.wait_for_selector(".board a")
    assert opened.violations(axe) == []
    opened.page.click(".board a")
    opened.page.wait_for_selector("#cards .card")
    opened.page.add_style_tag(content=".card { content-visibility: visible !important; }")
    assert opened.violations(axe) == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.get_by_role("button", name="Retry failed …").click()
    expect(opened.page.locator("#ask-yes")).to_be_visible()
    assert opened.violations(axe) == []


@pytest.mark.parametrize("width", [1280, 360])
def test_a_submission_in_doubt_says_what_to_do(doubtful, site, axe, width):
    opened = site(doubtful.address, width=width, bypass_csp=True)
    expect(opened.page.locator(".board .why")).to_contain_text("1 submission that may have been bought")
    opened.page.get_by_role("link", name="night.yaml").click()
    card = opened.page.locator(".card", has=opened.page.get_by_role("heading", name="lost"))
    expect(card.locator("pre").first).to_have_text("batchrunner adopt night.yaml lost PROJECT_ID")
    expect(card.locator("pre").last).to_have_text("batchrunner resolve night.yaml lost --not-created")
    expect(card.get_by_role("link", name="your library")).to_have_attribute("href", LIBRARY)
    expect(opened.page.locator("#waits")).to_contain_text("1 submission that may have been bought")
    expect(opened.page.locator("#no-waits")).not_to_be_visible()
    assert opened.violations(axe) == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_the_token_it_is_read_and_nothing_is_done(over, site):
    page = site(over.url).page
    page.get_by_role("link", name="night.yaml").click()
    page.wait_for_selector("#cards .card")
    page.get_by_role("button", name="Retry failed …").click()
    expect(page.locator("#ask-lines")).to_contain_text("the token is missing")
    expect(page.locator("#ask-yes")).not_to_be_visible()
