"""A user with a JupyterLab of their own, and the Chromium in which they use it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from browser import lab, server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

EXPECT_BROWSER = "OPENSHELL_EXPECT_BROWSER"


# No fixture here lives longer than a module: Playwright's event loop runs as long as they do, and other tests start
# loops of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium as the machine has it; where CI says that it has one, a missing one fails instead of skipping."""
    path = shutil.which("chromium")
    if path is None:
        reason = "no chromium on PATH (Debian: apt-get install chromium fonts-dejavu-core)"
        if os.environ.get(EXPECT_BROWSER) == "1":
            pytest.fail(f"{EXPECT_BROWSER} is 1, but there is {reason}")
        pytest.skip(reason)
    with lab.chromium(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A JupyterLab of a user who has just installed the package."""
    with server.running(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, jupyterlab: server.Server) -> Iterator[Page]:
    """JupyterLab's launcher, in a browser that has not been there before; its kernels are shut down at the end."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(lab.MILLISECONDS)
    page = context.new_page()
    traffic = lab.Traffic(page)
    lab.open_lab(page, jupyterlab)
    yield page
    traffic.wait_until_quiet()
    context.close()
    jupyterlab.end_sessions()
