from __future__ import annotations

from airflow_provider_conductor.polling.timeline import ROWS, timeline
from tests.polling.builders import failed, live, task, workflow


def test_a_task_is_one_row_with_all_its_attempts() -> None:
    table = timeline(
        workflow(
            task("validate", "COMPLETED", scheduled=0, started=1, ended=2.5),
            failed(scheduled=3, started=3, ended=4, retried=True),
            task(status="COMPLETED", attempt=2, scheduled=4, started=64, ended=70),
            live("pack"),
        )
    )
    assert table.split("\n") == [
        "task         attempts  start         duration  status",
        "validate     1         22:13:21 UTC  1.5 s     COMPLETED",
        "charge_card  2         22:13:23 UTC  67 s      COMPLETED",
        "pack         1         22:13:20 UTC  -         IN_PROGRESS",
    ]


def test_a_fan_out_of_hundreds_stays_a_table_to_read() -> None:
    lines = timeline(workflow(*(task(f"piece_{n}") for n in range(300)))).split("\n")
    assert len(lines) == ROWS + 2
    assert lines[-1] == f"… {300 - ROWS} more"


def test_a_name_that_breaks_lines_does_not() -> None:
    assert len(timeline(workflow(task("a\nb" * 100))).split("\n")) == 2


def test_a_workflow_without_tasks_has_an_empty_table() -> None:
    assert timeline(workflow()).split("\n") == ["task  attempts  start  duration  status"]
