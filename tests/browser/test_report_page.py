"""The report as a person sees it: real renders of the sandbox, a real browser."""

from __future__ import annotations

from pathlib import Path
import re
import shutil
from urllib.parse import unquote, urlsplit

from playwright.sync_api import expect
import pytest

from tests.support.program import Program

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
MANIFEST = f"""\
version: 1
output: renders/{{id}}.mp4
budget: {{credits: 5000}}
defaults:
  image-to-video: {{end_seconds: 5, model: ltx-2.3, resolution: 480p, style: {{prompt: slow}}}}
jobs:
  - {{id: "a clip", kind: video-to-video, input: a.mp4, end_seconds: 1, tags: [first, ink], style: {{art_style: Ink}}}}
  - {{id: b, kind: video-to-video, input: b.mp4, end_seconds: 0.5, tags: [ink], style: {{art_style: Watercolor}}}}
  - {{id: still, kind: image-to-video, input: a.png, tags: [first], style: {{prompt: '{EVIL}'}}}}
  - {{id: dear, kind: image-to-video, input: b.png, model: kling-3.0, resolution: 720p}}
  - {{id: lost, kind: image-to-video, input: b.png}}
  - {{id: dark, kind: image-to-video, input: a.png, style: {{prompt: x}}}}
"""
FAULTS = [
    {"step": "render", "job": "night/lost*", "render_error": {"code": "invalid_parameters", "message": EVIL}},
    {"step": "render", "job": "night/dark*", "black": True},
]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Program:
    """A batch that ran: four are well, one failed, one is black; and its report."""
    import json

    from batchrunner.sandbox import launch
    from batchrunner.sandbox.settings import Settings
    from tests.support.program import Provider

    folder = tmp_path_factory.mktemp("night")
    for file in media.iterdir():
        shutil.copy(file, folder)
    (folder / "night.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / "faults.json").write_text(json.dumps(FAULTS))
    settings = Settings(data_dir=folder / "sandbox", scale=0.2, credits=100_000, faults=folder / "faults.json")
    with launch.start(settings) as running:
        program = Program(folder=folder, provider=Provider(base_url=running.base_url))
        ended = program.run("run", "night.yaml")
    assert ended.code == 4, ended.err
    program.env["XDG_CACHE_HOME"] = str(folder / "cache")
    made = program.run("report", "night.yaml")
    assert (made.code, made.out) == (0, "night.report.html\n"), made.err
    return program


@pytest.fixture
def page_file(night: Program) -> Path:
    return night.folder / "night.report.html"


def shown(page) -> list[str]:
    """The ids of the cards that are shown, in order."""
    return [each.text_content() for each in page.locator(".card:not([hidden]) h3").all()]


def test_the_figures_are_those_of_status_and_ledger(night, tab, page_file):
    page = tab(page_file).page
    totals = night.status(night.folder / "night.yaml")["totals"]
    ledger = night.run("ledger", "night.yaml", "--json").json()["totals"]

    def figure(name: str) -> int:
        return int(page.locator(f"#{name}").text_content().replace(",", ""))

    assert figure("jobs-all") == totals["jobs"] == 6
    assert figure("jobs-done") == totals["by_state"]["done"] == 5
    assert figure("charged") == totals["credits"]["charged"] == ledger["net"]
    assert figure("estimated") == totals["credits"]["estimated"]
    assert figure("refunded") == totals["credits"]["refunded"]
    assert "of 5,000 allowed" in page.locator(".tiles").text_content()


def test_the_gallery_shows_every_job_before_beside_after(night, tab, page_file):
    page = tab(page_file).page
    assert shown(page) == ["a clip", "b", "still", "dear", "lost", "dark"]
    for card in page.locator(".card").all():
        card.scroll_into_view_if_needed()
        for image in card.locator("img").all():
            image.evaluate("image => image.decode()")
            assert image.evaluate("image => image.naturalWidth") > 0
            assert image.get_attribute("alt")
    counts = {card.locator("h3").text_content(): card.locator("img").count() for card in page.locator(".card").all()}
    assert counts == {"a clip": 2, "b": 2, "still": 2, "dear": 2, "lost": 1, "dark": 2}
    assert "nothing: failed" in page.locator(".card", has_text="lost").first.text_content()
    assert page.locator(".card[data-id=dark] figcaption").all_text_contents() == ["before", "what is suspect"]
    assert "it is black" in page.locator(".card[data-id=dark] .why").text_content()


def test_results_can_be_opened_from_the_page(night, tab, page_file):
    page = tab(page_file).page
    addresses = page.locator(".card p.path a").evaluate_all("links => links.map(link => link.href)")
    paths = [Path(unquote(urlsplit(address).path)) for address in addresses]
    assert [path.name for path in paths] == ["a clip.mp4", "b.mp4", "still.mp4", "dear.mp4", "dark.mp4"]
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (lambda page: page.get_by_role("button", name=re.compile("^failed")).click(), ["lost"]),
        (lambda page: page.get_by_role("button", name=re.compile("^suspect")).click(), ["dark"]),
        (
            lambda page: page.get_by_role("combobox", name="Kind", exact=True).select_option("video-to-video"),
            ["a clip", "b"],
        ),
        (lambda page: page.get_by_role("combobox", name="Model", exact=True).select_option("kling-3.0"), ["dear"]),
        (lambda page: page.get_by_role("combobox", name="Style", exact=True).select_option("Watercolor"), ["b"]),
        (lambda page: page.get_by_role("combobox", name="Tag", exact=True).select_option("first"), ["a clip", "still"]),
        (lambda page: page.get_by_label("Find").fill("ONERROR"), ["still", "lost"]),
    ],
)
def test_filters_leave_what_fits(tab, page_file, choose, expected):
    page = tab(page_file).page
    choose(page)
    assert shown(page) == expected
    assert page.locator("#count").text_content() == f"{len(expected)} of 6 jobs"
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#count")).to_have_text("6 jobs")
    assert len(shown(page)) == 6


def test_filters_hold_together_and_none_may_fit(tab, page_file):
    page = tab(page_file).page
    costs = dict(
        page.locator(".card").evaluate_all("cards => cards.map(card => [card.dataset.id, +card.dataset.cost])")
    )
    page.get_by_label("Cost from").fill(str(costs["dear"]))
    assert shown(page) == [job for job, cost in costs.items() if cost >= costs["dear"]]
    page.get_by_role("combobox", name="Kind", exact=True).select_option("video-to-video")
    page.get_by_role("combobox", name="Tag", exact=True).select_option("first")
    assert shown(page) == []
    assert page.get_by_text("No job fits these filters.").is_visible()


def test_cards_are_sorted_and_put_back(tab, page_file):
    page = tab(page_file).page
    sort = page.get_by_label("Sort by")
    costs = dict(
        page.locator(".card").evaluate_all("cards => cards.map(card => [card.dataset.id, +card.dataset.cost])")
    )
    sort.select_option("cost-down")
    assert [costs[job] for job in shown(page)] == sorted(costs.values(), reverse=True)
    sort.select_option("id")
    assert shown(page) == ["a clip", "b", "dark", "dear", "lost", "still"]
    sort.select_option("kind")
    assert shown(page) == ["still", "dear", "lost", "dark", "a clip", "b"]
    sort.select_option("style")
    assert shown(page)[:2] == ["a clip", "b"], "Ink, Watercolor, and then those without a style"
    sort.select_option("tag")
    assert shown(page) == ["a clip", "still", "b", "dear", "lost", "dark"], "by the first; those without one last"
    sort.select_option("")
    assert shown(page) == list(costs)


def test_a_hostile_text_is_a_text(tab, page_file):
    opened = tab(page_file)
    assert opened.page.locator(".card[data-id=still] .prompt").text_content() == EVIL
    assert EVIL in opened.page.locator(".notice.is-failed").text_content()
    assert opened.page.locator("img[src=x]").count() == 0


def test_nothing_is_asked_of_any_network(tab, page_file):
    opened = tab(page_file)
    opened.page.locator(".play").first.click()
    opened.page.wait_for_selector(".is-playing")
    assert [url for url in opened.requests if not url.startswith("data:")] == [page_file.as_uri()]


def test_a_loop_plays_under_the_pointer_and_by_the_keyboard(tab, page_file):
    page = tab(page_file).page
    figure = page.locator(".card[data-id=dear] .moving")
    button, image = figure.locator(".play"), figure.locator("img")
    poster = image.get_attribute("src")
    button.hover()
    assert image.get_attribute("src") != poster
    page.mouse.move(0, 0)
    assert image.get_attribute("src") == poster
    button.focus()
    page.keyboard.press("Enter")
    assert image.get_attribute("src") != poster
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press(" ")
    assert image.get_attribute("src") == poster


def test_nothing_moves_by_itself_where_it_should_not(tab, page_file):
    page = tab(page_file, reduced_motion="reduce").page
    button = page.locator(".card[data-id=dear] .play")
    button.hover()
    assert page.locator(".is-playing").count() == 0
    button.click()
    assert page.locator(".is-playing").count() == 1


def test_all_of_it_is_reached_by_the_keyboard(tab, page_file):
    page = tab(page_file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the gallery"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").startswith("All")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".chip[aria-pressed=true]").text_content().startswith("done")
    assert len(shown(page)) == 5
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"INPUT", "SELECT", "BUTTON", "SUMMARY", "A"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(tab, page_file, axe, scheme, width):
    opened = tab(page_file, width=width, color_scheme=scheme, bypass_csp=True)
    opened.page.locator(".card details summary").first.click()
    # Cards that are not in view yet are looked at, too.
    opened.page.add_style_tag(content=".card { content-visibility: visible !important; }")
    assert opened.violations(axe) == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_read_without_scripts(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(".card").count() == 6
    assert page.get_by_text("Filters, sorting and loops need JavaScript").is_visible()
    assert not page.locator("#controls").is_visible()
    context.close()


def test_it_can_be_printed(tab, page_file):
    page = tab(page_file).page
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    assert page.locator(".card").first.is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"


def test_pictures_beside_the_page_are_found_from_it(night, tab):
    (night.folder / "shared").mkdir()
    made = night.run("report", "night.yaml", "-o", "shared/a page.html", "--assets", "shared/its pictures")
    assert made.code == 0, made.err
    file = night.folder / "shared" / "a page.html"
    assert "data:image" not in file.read_text(encoding="utf-8")
    opened = tab(file)
    first = opened.page.locator(".card img").first
    first.scroll_into_view_if_needed()
    first.evaluate("image => image.decode()")
    opened.page.locator(".play").first.click()
    loop = opened.page.locator(".is-playing img")
    loop.evaluate("image => image.decode()")
    assert loop.get_attribute("src").endswith(".webp")
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert len(list((night.folder / "shared" / "its pictures").iterdir())) >= 10
