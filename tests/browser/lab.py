"""What a person does in JupyterLab, as functions of Playwright's page."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page, Request

    from browser.server import Server

MILLISECONDS = 60_000
QUIET_MILLISECONDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a cell shows beneath itself: its text as a person reads it, and the area to look at more closely."""

    text: str
    area: Locator


@contextlib.contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Start Chromium, and let Playwright be patient: a small machine may be busy with other tests."""
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root, and containers have a small /dev/shm.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Traffic:
    """The requests that a page is waiting for.

    A server that is stopped while it answers one waits for ever for a thread of anyio's, which ends with the request:
    with any kernel, or none.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._waiting: set[Request] = set()
        self._latest = 0
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Request) -> None:
        self._latest += 1
        self._waiting.add(request)

    def _end(self, request: Request) -> None:
        self._waiting.discard(request)

    def wait_until_quiet(self) -> None:
        """Wait until every request is answered and, for a while, there is no new one."""
        latest = -1
        while self._waiting or latest != self._latest:
            latest = self._latest
            self._page.wait_for_timeout(QUIET_MILLISECONDS)


def open_lab(page: Page, server: Server) -> None:
    """Open JupyterLab at its launcher, whatever an earlier visit left open."""
    page.goto(f"{server.url}lab?reset&token={server.token}")
    expect(page.locator(".jp-LauncherCard").first).to_be_visible()


def card(page: Page, kernel: str) -> Locator:
    """Return the launcher's card that makes a notebook with a kernel, named as the launcher names it."""
    return page.locator(f'.jp-LauncherCard[data-category="Notebook"][title="{kernel}"]')


def open_notebook(page: Page, kernel: str) -> None:
    """Make a notebook from the launcher and wait for its kernel."""
    card(page, kernel).click()
    wait_until_idle(page, kernel)


def wait_until_idle(page: Page, kernel: str) -> None:
    """Wait until the visible notebook's kernel waits for input.

    The status bar tells it; the indicator beside the kernel's name shows "idle" before there is a kernel, and what is
    run then is lost.
    """
    expect(page.locator("#jp-main-statusbar")).to_contain_text(f"{kernel} | Idle")


def write_cell(page: Page, source: str) -> None:
    """Write into the notebook's last cell, as one paste: typed brackets would be closed by the editor."""
    page.locator(".jp-Notebook:visible .jp-CodeCell").last.locator(".cm-content").click()
    page.keyboard.insert_text(source)


def run_cell(page: Page, source: str) -> Output:
    """Run code in the notebook's last cell, which must be empty, and wait for its end; a new cell follows it."""
    write_cell(page, source)
    cells = page.locator(".jp-Notebook:visible .jp-Cell")
    cell = cells.nth(cells.count() - 1)
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"^\[\d+\]:$"))
    area = cell.locator(".jp-Cell-outputArea")
    return Output(text="\n".join(area.locator(".jp-OutputArea-output").all_inner_texts()), area=area)


def completions(page: Page, source: str) -> list[str]:
    """Write into the last cell, ask for completion at its end and return what is offered; the list stays open."""
    write_cell(page, source)
    page.keyboard.press("Tab")
    items = page.locator(".jp-Completer-item .jp-Completer-match")
    expect(items.first).to_be_visible()
    return items.all_inner_texts()


def dialog(page: Page) -> str:
    """Wait for a dialog and return its text, the header first."""
    content = page.locator(".jp-Dialog-content")
    expect(content).to_be_visible()
    return content.inner_text()


def restart(page: Page) -> None:
    """Restart the visible notebook's kernel as a person does: type 0 twice, and confirm."""
    page.locator(".jp-Notebook:visible .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    page.keyboard.press("0")
    page.locator(".jp-Dialog-button.jp-mod-warn").click()
