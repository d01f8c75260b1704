from __future__ import annotations

from airflow_provider_conductor.polling.spans import MAX_SPANS, TimelineSpan, timeline_spans
from tests.polling.builders import at, failed, live, sub, task, workflow


def ended(*tasks: dict, status: str = "COMPLETED", seconds: float = 100, **data: object) -> list[TimelineSpan]:
    return list(timeline_spans(workflow(*tasks, status=status, endTime=at(seconds), **data)))


def test_each_attempt_is_a_span_below_the_workflows_with_conductors_times() -> None:
    root, *tasks = ended(
        task("validate", "COMPLETED", scheduled=0, started=1, ended=2.5, workerId="worker-1"),
        failed(scheduled=3, started=3, ended=4, retried=True),
        task(status="COMPLETED", attempt=2, scheduled=4, started=64, ended=70),
        workflowVersion=3,
        correlationId="order-7",
    )
    assert (root.name, root.start, root.end, root.error, root.parent) == ("order", at(0), at(100), None, None)
    assert root.attributes == {
        "conductor.workflow_id": "wf-1",
        "conductor.workflow_name": "order",
        "conductor.workflow_version": 3,
        "conductor.correlation_id": "order-7",
        "conductor.status": "COMPLETED",
    }
    assert [(span.name, span.start, span.end, span.error, span.parent) for span in tasks] == [
        ("validate", at(1), at(2.5), None, 0),
        ("charge_card", at(3), at(4), "card service down", 0),
        ("charge_card", at(64), at(70), None, 0),
    ]
    assert tasks[1].attributes == {
        "conductor.workflow_id": "wf-1",
        "conductor.task_id": "charge_card-1",
        "conductor.task_type": "charge_card",
        "conductor.status": "FAILED",
        "conductor.worker_id": "worker-3",
        "conductor.reason": "card service down",
        "conductor.retry_count": 0,
    }
    assert tasks[2].attributes["conductor.retry_count"] == 1


def test_what_failed_is_an_error_and_what_was_cancelled_with_it_is_not() -> None:
    for status in ("FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT", "COMPLETED_WITH_ERRORS"):
        assert ended(failed(status=status))[1].error == "card service down"
    for status in ("COMPLETED", "CANCELED", "SKIPPED", "NEWER_THAN_US"):
        assert ended(failed(status=status))[1].error is None
    for status in ("FAILED", "TIMED_OUT", "TERMINATED"):
        assert ended(status=status, reasonForIncompletion="by hand")[0].error == "by hand"


def test_a_task_that_never_began_is_shown_from_when_it_was_scheduled() -> None:
    (_, span) = ended(task(status="CANCELED", scheduled=5, ended=9))
    assert (span.start, span.end) == (at(5), at(9))


def test_what_has_not_ended_ends_with_the_workflow_and_nothing_ends_before_it_began() -> None:
    _, first, second = ended(live("pack"), task("back", "COMPLETED", started=8, ended=7))
    assert (first.end, second.start, second.end) == (at(100), at(8), at(8))


def test_a_task_without_any_time_is_none() -> None:
    assert len(ended(task(status="SKIPPED", scheduled=None))) == 1


def test_a_sub_workflow_that_was_read_is_below_the_attempt_that_runs_it() -> None:
    below = {
        "wf-2": workflow(sub("pack", "wf-3", "FAILED"), id="wf-2", status="FAILED", endTime=at(9)),
        "wf-3": workflow(failed("fold"), id="wf-3", status="FAILED", endTime=at(8)),
    }
    top = workflow(sub(status="FAILED"), task("later", "CANCELED"), status="FAILED", endTime=at(10))
    spans = timeline_spans(top, below)
    names = [(span.attributes["conductor.workflow_id"], span.name, span.parent) for span in spans]
    assert names == [
        ("wf-1", "order", None),
        ("wf-1", "ship", 0),
        ("wf-2", "order", 1),
        ("wf-2", "pack", 2),
        ("wf-3", "order", 3),
        ("wf-3", "fold", 4),
        ("wf-1", "later", 0),
    ]


def test_a_sub_workflow_that_contains_itself_ends() -> None:
    assert len(timeline_spans(workflow(sub(runs="wf-1")), {"wf-1": workflow(sub(runs="wf-1"))})) == 4


def test_five_thousand_tasks_are_bounded_and_the_failed_ones_are_there() -> None:
    tasks = [task(f"piece_{n}", "COMPLETED", started=n, ended=n + 1) for n in range(4_998)]
    root, *spans = ended(*tasks, failed("late"), failed("later"), status="FAILED")
    assert 1 + len(spans) == MAX_SPANS
    assert [span.name for span in spans[-3:]] == [f"piece_{MAX_SPANS - 4}", "late", "later"]
    assert root.attributes["conductor.tasks_omitted"] == 5_000 - len(spans)


def test_five_thousand_failures_with_sub_workflows_are_bounded_too() -> None:
    failures = [failed(f"piece_{n}") for n in range(5_000)]
    below = {"wf-2": workflow(*failures, id="wf-2"), "wf-3": workflow(*failures, id="wf-3")}
    top = workflow(sub("a", "wf-2", "FAILED"), sub("b", "wf-3", "FAILED"), *failures)
    assert MAX_SPANS * 0.9 < len(timeline_spans(top, below)) <= MAX_SPANS


def test_foreign_text_is_one_line_and_bounded() -> None:
    root, span = ended(
        failed("a\nb" * 100, reason="x\ny" * 10_000), reasonForIncompletion="z" * 10_000, status="FAILED"
    )
    assert len(span.name) <= 120
    assert "\n" not in span.name + str(span.attributes["conductor.reason"])
    assert max(len(span.error or ""), len(root.error or "")) <= 500
