"""The plugin's pages in Airflow's UI, in a real browser: what they show, and what their buttons do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Request, expect

from airflow_provider_conductor.client import Workflow, WorkflowStatus
from tests.faults.proxy import cut_before, fine
from tests.ui_browser.opened import STEPS, OpenShop
from tests.ui_browser.pages import AirflowGraph, AirflowPages, Tab
from tests.ui_browser.shop import BUTTONS, FOREIGN_REASON, FOREIGN_REF, IMAGE, INNERMOST_REASON, MANY, SCRIPT

pytestmark = [pytest.mark.airflow, pytest.mark.integration]


def trigger_log(shop: OpenShop, task_id: str) -> str:
    logs = shop.airflow.home.glob(f"logs/dag_id=shop/**/task_id={task_id}/**/*.log*")
    return "\n".join(path.read_text(errors="replace") for path in logs)


def test_a_deferred_task_shows_its_workflow_and_what_that_waits_for_in_the_words_of_the_log(
    pages: AirflowPages, shop: OpenShop
) -> None:
    tab = pages.task("stuck")
    expect(tab["blocker"]).to_contain_text(f"no worker has ever polled queue '{shop.shop.unpolled_queue}'")
    blocker = tab.text("blocker")
    assert "Start a worker that polls" in blocker
    shop.airflow.wait_until(lambda: blocker in trigger_log(shop, "stuck"))
    expect(tab["blocker"]).to_have_attribute("data-needs-user", "true")
    for ref, status in {"reserve": "COMPLETED", "pack": "SCHEDULED", "ship": ""}.items():
        tab.expect_status(ref, status)
    expect(tab.node("pack")).to_contain_text("blocked")
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("stuck"))
    tab.keep("stuck")


@pytest.mark.parametrize("map_index", [0, 1])
def test_each_instance_of_a_mapped_task_shows_its_own_workflow(
    pages: AirflowPages, shop: OpenShop, map_index: int
) -> None:
    tab = pages.task("mapped", map_index)
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("mapped", map_index))
    tab.node("reserve").click()
    expect(tab["details"]).to_contain_text(f"mapped {map_index}")
    tab.keep(f"mapped-{map_index}")


def test_a_task_that_waits_on_a_worker_shows_its_workflow_too(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.task("on_a_worker")
    expect(tab["blocker"]).to_contain_text(shop.shop.unpolled_queue)
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("on_a_worker"))


def test_a_failure_two_levels_down_is_to_be_seen_without_a_click(pages: AirflowPages) -> None:
    tab = pages.task("failed")
    expect(tab["failure"]).to_contain_text(INNERMOST_REASON)
    for ref in ("ship", "label", "print"):
        tab.expect_status(ref, "FAILED")
    expect(tab.node("print")).to_be_in_viewport()
    expect(tab.node("print")).to_contain_text("attempt 2 of 2")
    tab.keep("failed-two-levels-down")
    tab.node("print").click()
    expect(tab["reason-text"]).to_have_text(INNERMOST_REASON)
    tab.keep("failed-details")


def test_a_completed_workflow_shows_forks_the_branch_taken_and_iterations(pages: AirflowPages) -> None:
    tab = pages.task("completed")
    for ref in ("reserve", "note", "joined", "speed", "label_express", "parcels", "scan__1", "scan__2", "scan__3"):
        tab.expect_status(ref, "COMPLETED")
    expect(tab.frame.get_by_role("group", name="FORK_JOIN both")).to_contain_text("2 branches")
    switch = tab.frame.get_by_role("group", name="SWITCH speed")
    expect(switch).to_contain_text("took")
    expect(switch.get_by_role("listitem").filter(has_text="slow").first).to_contain_text("not taken")
    expect(tab.frame.get_by_role("group", name="DO_WHILE parcels")).to_contain_text("3 iterations")
    expect(tab["blocker"]).to_have_count(0)
    expect(tab["failure"]).to_have_count(0)
    tab.keep("completed")


def test_the_timeline_has_a_bar_for_each_attempt(pages: AirflowPages) -> None:
    tab = pages.task("completed")
    tab["view-timeline"].click()
    for ref in ("reserve", "note", "label_express", "scan__1", "scan__2", "scan__3"):
        expect(tab[f"bar-{ref}"]).to_be_visible()
    tab.keep("timeline")
    tab["bar-reserve"].click()
    expect(tab["details"]).to_be_visible()


def test_a_tasks_details_have_its_input_output_worker_and_log(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.task("completed")
    tab.node("reserve").click()
    details = tab["details"]
    for text in ('"order": "completed"', '"reserved": true', f"worker of {shop.shop.prefix}_reserve"):
        expect(details).to_contain_text(text)
    expect(tab["log"]).to_contain_text("looked into the shelf")
    tab.keep("details")


def test_a_task_without_a_workflow_says_that_it_has_none(pages: AirflowPages) -> None:
    pages.expect_error("404")
    tab = pages.task("without_workflow")
    expect(tab["empty"]).to_contain_text("no Conductor workflow")
    tab.keep("without-workflow")


def test_a_dag_run_shows_all_its_workflows_and_leads_to_each(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.run()
    # Each task instance that has one: all but `without_workflow` and `batch`.
    expect(tab["row"]).to_have_count(7 + 2 + len(BUTTONS))
    row = tab["row"].filter(has_text="stuck").filter(has_text="action needed").first
    expect(row).to_contain_text(shop.shop.unpolled_queue)
    tab.keep("dag-run")
    tab["row"].filter(has=tab.frame.get_by_role("button", name="failed", exact=True)).click()
    expect(tab["failure"]).to_contain_text(INNERMOST_REASON)
    tab["back"].click()
    expect(tab["row"].first).to_be_visible()


def test_the_steps_of_a_task_group_are_in_airflows_graph_and_in_conductors(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.task("fulfil_order.book_courier", dag_id="orders")
    graph = AirflowGraph(tab.page)
    graph.open()
    graph.share_page()
    tab["details"].get_by_role("button", name="Close the details").click()
    tab.keep("task-group")
    for task_id, state in STEPS.items():
        expect(graph.node(task_id)).to_contain_text(state or task_id.removeprefix("fulfil_order."))
    steps = {task_id.removeprefix("fulfil_order.") for task_id in STEPS} - {"start", "finish"}
    for ref in steps:
        # Conductor has no case that was not taken, and our graph folds it.
        expect(tab.node(ref)).to_have_count(0 if ref == "take_to_post" else 1)
    tab.frame.get_by_role("button", name="1 task: show").click()
    expect(tab.node("take_to_post")).to_be_visible()
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("fulfil_order.start"))


@pytest.mark.parametrize("ref", ["book_courier", "pack_box", "take_to_post"])
def test_the_task_of_a_step_shows_its_workflow_with_the_step_selected(
    pages: AirflowPages, shop: OpenShop, ref: str
) -> None:
    tab = pages.task(f"fulfil_order.{ref}", dag_id="orders")
    expect(tab["details"].get_by_role("heading", level=2)).to_have_text(ref)
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("fulfil_order.start"))


def test_a_dag_run_shows_the_workflow_of_a_task_group_once(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.run("orders")
    expect(tab["row"]).to_have_count(1)
    expect(tab["row"]).to_contain_text(shop.shop.unpolled_queue)
    tab["row"].get_by_role("button").click()
    expect(tab["details"]).to_have_count(0)
    tab.expect_status("book_courier", "SCHEDULED")


def test_a_batch_lists_its_workflows_and_leads_to_each(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.task("batch")
    expect(tab["counts"]).to_have_text("1 failed, 1 running, 1 completed")
    failed, stuck, completed = (tab["row"].nth(place) for place in range(3))
    for row, item, text in ((failed, "A-3", INNERMOST_REASON), (stuck, "A-2", "action needed"), (completed, "A-1", "")):
        expect(row).to_contain_text(item)
        expect(row).to_contain_text(text)
    expect(stuck).to_contain_text(shop.shop.unpolled_queue)
    tab.keep("batch")
    stuck.get_by_role("button").click()
    tab.expect_status("pack", "SCHEDULED")
    expect(tab["blocker"]).to_contain_text(shop.shop.unpolled_queue)
    tab.node("pack").click()
    expect(tab["details"]).to_contain_text(shop.shop.unpolled_queue)
    assert "pause" in tab.press("pause")
    assert "resume" in tab.press("resume")
    tab["back"].click()
    expect(tab["row"]).to_have_count(3)


def test_a_conductor_out_of_reach_is_named_and_its_return_is_noticed_without_a_reload(
    pages: AirflowPages, shop: OpenShop
) -> None:
    pages.expect_error("502")
    before = pages.task("relayed")
    before.expect_status("pack", "SCHEDULED")
    before.evaluate("window.kept = true")
    shop.relay.choose = lambda line: cut_before
    try:
        expect(before["error"]).to_contain_text("could not reach Conductor (connection conductor_relayed)")
        expect(before["error"]).to_contain_text("What you see was read before.")
        before.expect_status("pack", "SCHEDULED")
        before.keep("conductor-out-of-reach")
        meanwhile = pages.task("relayed")
        expect(meanwhile["error"]).to_contain_text("could not reach Conductor (connection conductor_relayed)")
        expect(meanwhile["error"]).to_contain_text("and the Airflow task that waits for it, are not affected")
        meanwhile.evaluate("window.kept = true")
    finally:
        shop.relay.choose = lambda line: fine
    for tab in (before, meanwhile):
        expect(tab["error"]).to_have_count(0)
        tab.expect_status("pack", "SCHEDULED")
        assert tab.evaluate("window.kept") is True
    assert shop.state("relayed") == "deferred"


def is_poll(request: Request) -> bool:
    return "/conductor/api/" in request.url


def wait_for_polls(tab: Tab, count: int) -> None:
    for _ in range(count):
        with tab.page.expect_request(is_poll):
            pass


def test_a_hidden_page_polls_nothing_until_it_is_shown_again(pages: AirflowPages) -> None:
    hidden, shown = pages.task("stuck"), pages.task("stuck")
    sent: list[Request] = []
    hidden.page.on("request", lambda request: sent.append(request) if is_poll(request) else None)
    for tab in (hidden, shown):
        tab.expect_status("pack", "SCHEDULED")
    hidden.set_hidden(True)
    wait_for_polls(shown, 1)  # what had been sent before has arrived by then
    before = len(sent)
    # The other page polls at the same pace.
    wait_for_polls(shown, 4)
    assert len(sent) == before
    with hidden.page.expect_request(is_poll):
        hidden.set_hidden(False)
    wait_for_polls(hidden, 2)


def test_the_page_in_the_menu_shows_queues_without_workers_and_stalled_workflows(
    pages: AirflowPages, shop: OpenShop
) -> None:
    tab = pages.menu()
    expect(tab["connection"].first).to_have_attribute("data-ok", "true")
    queue = tab["queue"].filter(has_text=shop.shop.unpolled_queue)
    expect(queue).to_have_attribute("data-polled", "false")
    row = tab["row"].filter(has_text="on_a_worker")
    expect(row).to_contain_text("action needed")
    tab.keep("health")
    row.get_by_role("button").click()
    expect(tab.frame.locator("header")).to_contain_text(shop.workflow_id("on_a_worker"))
    tab["back"].click()
    expect(queue).to_be_visible()


def background(tab: Tab) -> str:
    return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_pages_are_as_dark_as_airflow(pages: AirflowPages) -> None:
    tab = pages.task("stuck")
    expect(tab["blocker"]).to_be_visible()
    light = background(tab)
    pages.switch_to_dark(tab.page)
    expect(tab.frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert background(tab) != light
    tab.keep("dark-stuck")
    tab["view-timeline"].click()
    tab.keep("dark-timeline")


def test_a_task_can_be_found_and_read_by_keyboard_alone(pages: AirflowPages) -> None:
    tab = pages.task("stuck")
    # What a screen reader says of it.
    expect(tab.node("pack")).to_have_accessible_name(re.compile(r"^pack .*SIMPLE, SCHEDULED, blocked, attempt 1 of 1"))
    tab.page.get_by_role("link", name="Conductor", exact=True).focus()
    focused = tab.frame.locator(":focus")
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        if focused.count() and focused.get_attribute("data-testid") == "node-pack":
            break
    expect(tab.node("pack")).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(tab["details"]).to_be_visible()
    expect(tab["details"].locator(":focus")).to_have_count(1)
    tab.keep("keyboard")
    tab.page.keyboard.press("Escape")
    expect(tab["details"]).to_have_count(0)
    expect(tab.node("pack")).to_be_focused()


def test_what_conductor_has_is_text_and_never_markup(pages: AirflowPages, shop: OpenShop) -> None:
    # That no script has run is what the fixture checks of every page, after the test.
    tab = pages.task("foreign")
    tab.expect_status(FOREIGN_REF, "SCHEDULED")
    expect(tab.frame.get_by_role("heading", level=1)).to_contain_text(shop.shop.names["foreign"])
    expect(tab["blocker"]).to_contain_text("<img src=x")
    # 300 characters without a space: nothing is wider than the page.
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    tab.keep("foreign-names")
    tab.node(FOREIGN_REF).click()
    tab["attempts"].select_option(index=0)
    expect(tab["reason-text"]).to_have_text(FOREIGN_REASON)
    expect(tab["details"]).to_contain_text(json.dumps(IMAGE))
    expect(tab["log"]).to_contain_text(SCRIPT)
    tab.keep("foreign-details")
    tab["view-timeline"].click()
    expect(tab[f"bar-{FOREIGN_REF}"].first).to_be_visible()
    tab.keep("foreign-timeline")
    expect(pages.run()["row"].filter(has_text="foreign").first).to_contain_text("<img src=x")


@pytest.fixture
def many_tasks(shop: OpenShop) -> Iterator[str]:
    """The workflow with thousands of tasks, which Conductor has completed; it may still run, as long as the test."""
    workflow_id = shop.workflow_id("many")
    (begin,) = shop.client.get_workflow(workflow_id).tasks
    shop.client.update_task(workflow_id, begin.task_id, "COMPLETED")
    shop.airflow.wait_until(lambda: len(shop.client.get_workflow(workflow_id).tasks) > MANY, 900)
    yield workflow_id
    if shop.client.get_workflow(workflow_id, include_tasks=False).status is WorkflowStatus.RUNNING:
        shop.client.terminate_workflow(workflow_id)


def test_a_workflow_of_thousands_of_tasks_is_shown_and_its_page_answers(
    pages: AirflowPages, many_tasks: str, report: Callable[[str], None]
) -> None:
    took: dict[str, float] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        took[what] = time.monotonic() - begun

    # Where a busy machine takes longer than a page waits, the page says so and asks again.
    pages.expect_error("502")
    page = pages.page()
    with page.expect_response(lambda response: response.ok and response.url.endswith("/workflow")) as answer:
        tab = pages.task("many", page=page)
        answer.value.finished()
        with timed("shown after its data had come"):
            expect(tab.node("fan")).to_be_visible()
    expect(tab.frame.get_by_role("group", name="FORK_JOIN_DYNAMIC fan")).to_contain_text(f"{MANY:,} branches")
    tab.keep("many-tasks")
    with timed("a task's details"):
        tab.node("begin").click()
        expect(tab["details"]).to_contain_text("WAIT")
    last = f"item_{MANY - 1}"
    with timed("one task found by its name"):
        tab["filter"].fill(last)
        expect(tab.node(last)).to_be_visible()
    with timed("its details"):
        tab.node(last).click()
        expect(tab["details"]).to_contain_text("NOOP")
    tab["filter"].fill("")
    with timed("the timeline"):
        tab["view-timeline"].click()
        expect(tab["bar-begin"]).to_be_visible()
    tab.keep("many-tasks-timeline")
    times = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items())
    report(f"a workflow of {MANY} tasks in the browser: {times}")


def instance(verb: str) -> int:
    """The instance of the task `press` that is there for a button."""
    return list(BUTTONS).index(verb)


@pytest.fixture
def assert_logged(shop: OpenShop) -> Callable[[str], None]:
    """Asserts that Airflow's audit log has the press of a button, once, and whose it was."""

    def check(verb: str) -> None:
        (entry,) = shop.audit_log(instance(verb))
        assert (entry["dag_id"], entry["run_id"], entry["task_id"]) == ("shop", shop.run_id("shop"), "press")
        assert (entry["owner"], entry["verb"]) == ("admin", verb)

    return check


def workflow_of(shop: OpenShop, verb: str) -> Workflow:
    return shop.client.get_workflow(shop.workflow_id("press", instance(verb)))


def wait_until_ended(shop: OpenShop, verb: str) -> Workflow:
    shop.airflow.wait_until(lambda: workflow_of(shop, verb).status.ended)
    return workflow_of(shop, verb)


def test_pause(pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]) -> None:
    tab = pages.task("press", instance("pause"))
    assert "pause" in tab.press("pause")
    assert workflow_of(shop, "pause").status == "PAUSED"
    expect(tab["blocker"]).to_contain_text("paused")
    assert_logged("pause")
    tab.keep("paused")


def test_resume_of_what_was_paused_elsewhere_while_the_page_was_open(
    pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]
) -> None:
    tab = pages.task("press", instance("resume"))
    expect(tab["action-resume"]).to_have_attribute("aria-disabled", "true")
    shop.client.pause_workflow(workflow_of(shop, "resume").workflow_id)
    expect(tab["action-resume"]).to_have_attribute("aria-disabled", "false")
    assert "resume" in tab.press("resume")
    assert workflow_of(shop, "resume").status == "RUNNING"
    assert_logged("resume")


def test_terminate(pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]) -> None:
    tab = pages.task("press", instance("terminate"))
    tab.press("terminate", reason="no longer wanted")
    workflow = workflow_of(shop, "terminate")
    assert workflow.status == "TERMINATED"
    assert workflow.reason == "terminated in Airflow's UI by admin: no longer wanted"
    assert_logged("terminate")
    # Airflow's task, which waits for it, learns of it.
    shop.airflow.wait_until(lambda: shop.state("press", instance("terminate")) == "failed")


@pytest.mark.parametrize("verb", ["retry", "restart"])
def test_retry_and_restart(
    pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None], verb: str
) -> None:
    tab = pages.task("press", instance(verb))
    expect(tab["failure"]).to_contain_text("it broke")
    tab.press(verb)
    workflow = wait_until_ended(shop, verb)
    assert workflow.status == "COMPLETED"
    # A retry keeps what has been done; a restart does all of it again.
    refs = [task.reference_name for task in workflow.tasks]
    assert refs == (["note", "fragile", "fragile"] if verb == "retry" else ["note", "fragile"])
    tab.expect_status("fragile", "COMPLETED")
    assert_logged(verb)


def test_rerun_from_a_task(pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]) -> None:
    tab = pages.task("press", instance("rerun"))
    tab.node("fragile").click()
    tab.press("rerun")
    workflow = wait_until_ended(shop, "rerun")
    assert workflow.status == "COMPLETED"
    tab.expect_status("fragile", "COMPLETED")
    assert_logged("rerun")


def test_skip_a_task(pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]) -> None:
    tab = pages.task("press", instance("skip"))
    tab.node("pack").click()
    tab.press("skip")
    assert {task.reference_name: task.status for task in workflow_of(shop, "skip").tasks}["pack"] == "SKIPPED"
    tab.expect_status("pack", "SKIPPED")
    assert_logged("skip")


def test_complete_a_task_with_an_output(
    pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]
) -> None:
    tab = pages.task("press", instance("complete"))
    tab.node("hold").click()
    tab["action-complete"].click()
    tab["output"].fill("[1")
    tab["confirm"].click()
    expect(tab["output-error"]).to_contain_text("not JSON")
    tab["cancel"].click()
    assert workflow_of(shop, "complete").tasks[0].status == "IN_PROGRESS"
    tab.press("complete", output='{"approved": true}')
    hold = workflow_of(shop, "complete").tasks[0]
    assert (hold.status, hold.output["approved"]) == ("COMPLETED", True)
    tab.expect_status("pack", "SCHEDULED")
    assert_logged("complete")


def test_fail_a_task(pages: AirflowPages, shop: OpenShop, assert_logged: Callable[[str], None]) -> None:
    tab = pages.task("press", instance("fail"))
    tab.node("ask").click()
    tab.press("fail", reason="not today")
    workflow = wait_until_ended(shop, "fail")
    assert workflow.status == "FAILED"
    assert "not today" in workflow.tasks[0].reason
    expect(tab["failure"]).to_contain_text("failed in Airflow's UI by admin: not today")
    assert_logged("fail")


def test_who_may_not_change_task_instances_has_no_buttons_and_is_refused(pages: AirflowPages, shop: OpenShop) -> None:
    tab = pages.task("stuck", user="viewer")
    expect(tab["blocker"]).to_be_visible()
    expect(tab["no-rights"]).to_be_visible()
    tab.node("pack").click()
    expect(tab["details"]).to_be_visible()
    expect(tab.frame.locator("[data-verb]")).to_have_count(0)
    tab.keep("viewer")
    # Whoever sends the request by hand, with this user's cookie, is refused.
    pages.expect_error("403")
    workflow_id = shop.workflow_id("stuck")
    path = f"api/dags/shop/runs/{shop.run_id('shop').replace('+', '%2B')}/tasks/stuck/-1/actions"
    status = tab.frame.locator("html").evaluate(
        """async (_, [path, body]) => (await fetch(path, {
            method: "POST", body, headers: {"Content-Type": "application/json", "X-Conductor-Request": "airflow-ui"},
        })).status""",
        [path, json.dumps({"verb": "terminate", "workflow": workflow_id})],
    )
    assert status == 403
    assert shop.client.get_workflow(workflow_id).status == "RUNNING"
