"""What a report and the dashboard look like: wide, on a phone, in light and in dark, as pictures to be looked at.

    python -m tests.browser.screenshots [REPORT.html]

Without a report, one of the demonstration is made, and the dashboard is shown with it. The pictures go into
tests/browser/screenshots.
"""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

from tests.support.desks import dashboard
from tests.support.program import Program, Provider

FOLDER = Path(__file__).parent / "screenshots"
VIEWS = {"wide": (1440, 900), "phone": (390, 844)}
ALL = ".card { content-visibility: visible !important; }"


def take(browser: Browser, report: Path) -> list[Path]:
    """Every view of a report as a picture of the whole page."""
    FOLDER.mkdir(exist_ok=True)
    taken = []
    for name, (width, height) in VIEWS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(report.resolve().as_uri())
            page.add_style_tag(content=ALL)
            page.evaluate("for (const image of document.images) image.loading = 'eager'")
            page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => {})))")
            taken.append(FOLDER / f"{name}-{scheme}.png")
            page.screenshot(path=taken[-1], full_page=True)
            context.close()
    return taken


def take_dashboard(browser: Browser, address: str) -> list[Path]:
    """The page of the first batch of a dashboard, in every view."""
    taken = []
    for name, (width, height) in VIEWS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(address)
            page.locator(".board a").first.click()
            page.wait_for_selector("#cards .card")
            page.add_style_tag(content=ALL)
            page.evaluate("for (const image of document.images) image.loading = 'eager'")
            page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => {})))")
            taken.append(FOLDER / f"dashboard-{name}-{scheme}.png")
            page.screenshot(path=taken[-1], full_page=True)
            context.close()
    return taken


def main() -> None:
    with TemporaryDirectory() as folder, sync_playwright() as play:
        report = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "demo" / "demo.report.html"
        if len(sys.argv) == 1:
            for words in (("demo", "demo"), ("report", "demo/demo.yaml")):
                subprocess.run([sys.executable, "-m", "batchrunner", *words], cwd=folder, check=True)
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        taken = take(browser, report)
        if len(sys.argv) == 1:
            program = Program(folder=Path(folder), provider=Provider(base_url=""))
            with dashboard(program, "demo") as page:
                taken += take_dashboard(browser, page.address)
        for path in taken:
            sys.stdout.write(f"{path}\n")
        browser.close()


if __name__ == "__main__":
    main()
