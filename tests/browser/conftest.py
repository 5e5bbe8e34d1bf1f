"""A real browser: Debian's Chromium, driven by Playwright, which downloads none of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
import os
from pathlib import Path
import shutil
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
import pytest

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


def _need(what: str, *, found: bool, install: str) -> None:
    """Skip a test for what a newcomer's machine need not have; where everything is checked, it must be there."""
    if found:
        return
    said = f"{what} is not installed ({install})"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ended with its module: as long as it is there, an event loop runs in this thread, and no test can run its own."""
    path = shutil.which("chromium")
    _need("Chromium", found=path is not None, install="apt-get install chromium")
    with sync_playwright() as play:
        # The browser's own sandbox needs rights that containers do not have; only pages of ours are opened.
        started = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    _need("axe-core", found=AXE.exists(), install="npm ci --prefix tests/browser")
    return AXE.read_text(encoding="utf-8")


@dataclass(slots=True, kw_only=True)
class Tab:
    """A page that was opened, and what came of it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def violations(self, axe: str) -> list[str]:
        """What the accessibility checker finds wrong, in a few words each."""
        self.page.evaluate(axe)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]


Open = Callable[..., Tab]


@pytest.fixture
def site(browser: Browser) -> Iterator[Open]:
    """Opens addresses, each in a context of its own; none may complain of anything but a request that was refused."""
    tabs: list[Tab] = []

    def open_(address: str, *, width: int = 1280, height: int = 900, **options: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        made = Tab(page=context.new_page())
        tabs.append(made)
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.on("console", lambda message: made.complaints.append(message.text))
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.goto(address)
        return made

    yield open_
    for each in tabs:
        each.page.context.close()
    complaints = [text for each in tabs for text in each.complaints]
    assert [text for text in complaints if "the server responded with a status of 403" not in text] == []


@pytest.fixture
def tab(site: Open) -> Open:
    """Opens pages that are files; none may complain of anything."""

    def open_(path: Path, **options: Any) -> Tab:
        made = site(path.as_uri(), **options)
        made.page.wait_for_selector("#controls:not([hidden])")
        return made

    return open_
