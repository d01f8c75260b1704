"""A real Airflow with real workflows, and a browser, for the tests of the plugin's pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__ as airflow_version

from tests.ui_browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ui_browser.opened import OpenShop
    from tests.ui_browser.pages import AirflowPages

collect_ignore = [] if tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1) else ["test_pages.py"]
"""Airflow shows a plugin's pages from 3.1 on."""

SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots" / airflow_version


@pytest.fixture(scope="module")
def shop(conductor_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenShop]:
    with opened.open_shop(conductor_server.api_url, tmp_path_factory.mktemp("airflow")) as found:
        yield found


# Closed with the module: an event loop of Playwright's is in the way of asyncio's in other modules' tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    from dev.browser import FLAGS, chromium

    expect.set_options(timeout=120_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def airflow_pages(browser: Browser, shop: OpenShop) -> AirflowPages:
    from tests.ui_browser.pages import AirflowPages

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return AirflowPages(browser, shop, SCREENSHOTS)


@pytest.fixture
def pages(airflow_pages: AirflowPages) -> Iterator[AirflowPages]:
    """Airflow's pages; a test passes only if they raised no error, and asked nobody but Airflow for anything."""
    airflow_pages.begin()
    yield airflow_pages
    airflow_pages.end()
    assert airflow_pages.trouble == []


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says at the end of the run what was measured."""
    return lambda line: record_property("counted", line)
