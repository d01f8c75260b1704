"""Airflow's pages as a user has them in a browser."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    FrameLocator,
    Locator,
    Page,
    Request,
    WebError,
    expect,
)

from tests.ui_browser.opened import OpenShop

__all__ = ["AirflowGraph", "AirflowPages", "Tab"]

PATIENCE = 120_000
"""Milliseconds; on a busy machine, Airflow's first page takes half a minute."""


HALVES = """() => {
  for (const key of Object.keys(localStorage).filter((name) => name.startsWith("react-resizable-panels:graph"))) {
    const stored = JSON.parse(localStorage[key]);
    for (const panels of Object.values(stored)) if (panels.layout.length === 2) panels.layout = [50, 50];
    localStorage[key] = JSON.stringify(stored);
  }
}"""
"""Where Airflow's pages keep how much of them each part has."""


class Tab:
    """What the plugin shows in its frame in one of Airflow's pages.

    Attributes:
        page: Airflow's page.
        frame: the plugin's.
    """

    def __init__(self, page: Page, screenshots: Path) -> None:
        self.page = page
        self.frame: FrameLocator = page.frame_locator("iframe")
        self._screenshots = screenshots

    def __getitem__(self, test_id: str) -> Locator:
        return self.frame.get_by_test_id(test_id)

    def text(self, test_id: str) -> str:
        """What is to be read there, once it is there."""
        return self[test_id].inner_text()

    def node(self, ref: str) -> Locator:
        """A task in the graph."""
        return self[f"node-{ref}"]

    def expect_status(self, ref: str, status: str) -> None:
        """Wait until a task in the graph has this status; "" is not reached."""
        expect(self.node(ref)).to_have_attribute("data-status", status)

    def press(self, verb: str, **answers: str) -> str:
        """Press a button, answer what it asks, and return what the page says then."""
        self[f"action-{verb}"].click()
        for test_id, answer in answers.items():
            self[test_id].fill(answer)
        # Some verbs ask first.
        if verb not in ("pause", "resume", "retry"):
            self["confirm"].click()
        message = self["message"]
        expect(message).to_have_attribute("data-bad", "false")
        return message.inner_text()

    def evaluate(self, script: str) -> Any:
        """The value of a script in the plugin's frame."""
        return self.frame.locator("html").evaluate(f"() => ({script})")

    def set_hidden(self, hidden: bool) -> None:
        """Make the plugin's frame believe that its page is hidden, or shown: Playwright's pages are always shown."""
        self.frame.locator("html").evaluate(
            """(_, hidden) => {
                Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
                Object.defineProperty(document, "visibilityState", {
                    configurable: true, get: () => hidden ? "hidden" : "visible",
                });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    def keep(self, name: str) -> None:
        """Keep a picture of the page, once its letters are there."""
        self.page.evaluate("() => document.fonts.ready")
        self.page.screenshot(path=self._screenshots / f"{name}.png", animations="disabled")


class AirflowGraph:
    """Airflow's own graph, in the left part of the page of a DAG run or task instance."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> None:
        """Show it in place of the grid, with what is in task groups."""
        self.page.get_by_role("button", name="Show Graph").click()
        self.page.get_by_role("button", name="Expand all task groups").click()

    def share_page(self) -> None:
        """Give it half of the page, and all of itself to be seen."""
        self.page.set_viewport_size({"width": 1800, "height": 1040})
        self.page.evaluate(HALVES)
        self.page.reload()
        self.page.get_by_role("button", name="Fit View").click()

    def node(self, task_id: str) -> Locator:
        """A task, with its state."""
        return self.page.get_by_test_id(f"rf__node-{task_id}")


class AirflowPages:
    """Airflow's UI in a browser, for one test after the other. A user logs in once.

    Attributes:
        trouble: what must not happen in a page, and has: errors, dialogs, requests to others than this Airflow.
    """

    def __init__(self, browser: Browser, shop: OpenShop, screenshots: Path) -> None:
        self.trouble: list[str] = []
        self.url = shop.airflow.url
        self._browser = browser
        self._shop = shop
        self._screenshots = screenshots
        self._contexts: dict[str, BrowserContext] = {}
        self._expected: list[str] = []

    def begin(self) -> None:
        """Forget what the test before has seen."""
        self.trouble, self._expected = [], []

    def end(self) -> None:
        """Close the pages of a test."""
        for context in self._contexts.values():
            for page in context.pages:
                for frame in page.frames:
                    # A frame may be gone by now.
                    with contextlib.suppress(Error):
                        if frame.evaluate("() => window.__xss"):
                            self.trouble.append(f"{frame.url} has run a script of Conductor's data")
                # What the user has chosen, such as the appearance.
                page.evaluate("() => localStorage.clear()")
                page.close()

    def expect_error(self, part: str) -> None:
        """An error with this in it is what the test is about."""
        self._expected.append(part)

    def page(self, user: str = "admin") -> Page:
        """A page of somebody who has logged in, in a browser of one's own."""
        if user not in self._contexts:
            self._contexts[user] = self._log_in(user)
        return self._contexts[user].new_page()

    def _log_in(self, user: str) -> BrowserContext:
        context = self._browser.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(PATIENCE)
        # Of every page of it, and every frame in them.
        context.on("request", self._check_request)
        context.on("console", self._check_console)
        context.on("weberror", self._check_error)
        context.on("dialog", self._check_dialog)
        page = context.new_page()
        page.goto(self.url)
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(self._shop.password(user))
        page.locator("button[type=submit]").click()
        expect(page.get_by_role("link", name="Dags").first).to_be_visible()
        page.close()
        return context

    def task(
        self, task_id: str, map_index: int = -1, *, dag_id: str = "shop", user: str = "admin", page: Page | None = None
    ) -> Tab:
        """Open a task instance in Airflow's UI, and its tab; in a page that is open already, or a new one."""
        instance = f"tasks/{task_id}" + (f"/mapped/{map_index}" if map_index >= 0 else "")
        return self._open_tab(f"{self._run_path(dag_id)}/{instance}", page or self.page(user))

    def run(self, dag_id: str = "shop", *, user: str = "admin") -> Tab:
        """Open the DAG run in Airflow's UI, and its tab."""
        return self._open_tab(self._run_path(dag_id), self.page(user))

    def _run_path(self, dag_id: str) -> str:
        return f"/dags/{dag_id}/runs/{quote(self._shop.run_id(dag_id))}"

    def _open_tab(self, path: str, page: Page) -> Tab:
        page.goto(self.url + path)
        page.get_by_role("link", name="Conductor", exact=True).click()
        return Tab(page, self._screenshots)

    def menu(self, *, user: str = "admin") -> Tab:
        """Open the page in Airflow's menu."""
        page = self.page(user)
        page.goto(self.url)
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Conductor").click()
        return Tab(page, self._screenshots)

    def switch_to_dark(self, page: Page) -> None:
        """Choose the dark appearance in Airflow's menu."""
        page.get_by_role("button", name="User").click()
        page.get_by_role("menuitem", name="Appearance").hover()
        page.get_by_role("menuitemradio", name="Dark").or_(page.get_by_role("menuitem", name="Dark")).click()

    def _note(self, trouble: str) -> None:
        if not any(part in trouble for part in self._expected):
            self.trouble.append(trouble)

    def _check_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self._note(f"a request to {request.url}")

    def _check_console(self, message: ConsoleMessage) -> None:
        # Of Airflow's own pages, the tests know nothing.
        if message.type == "error" and "/conductor/" in message.location["url"]:
            self._note(f"{message.location['url']}: {message.text}")

    def _check_error(self, error: WebError) -> None:
        # Airflow 3.2 leaves a log that it is reading, which is an error in one of its own scripts.
        where = error.error.stack or ""
        if "/conductor/" in where or "http://" not in where:
            self._note(f"uncaught error: {error.error} {where}")

    def _check_dialog(self, dialog: Any) -> None:
        self._note(f"a dialog: {dialog.message}")
        dialog.dismiss()
