"""A flow stops before its next step when its task has been killed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.flow import Flow, Sleep, Step, drive
from airflow_provider_conductor.submission.errors import TaskKilledError
from airflow_provider_conductor.submission.kill_check import unless_killed


class Task:
    """A task that is killed while the step with this number is under way; 0 is before the first."""

    def __init__(self, killed_in: int | None = None) -> None:
        self.killed_in = killed_in
        self.done: list[Any] = []
        self.heard: list[Any] = []
        self.closed = False

    def killed(self) -> bool:
        return self.killed_in is not None and len(self.done) >= self.killed_in

    def flow(self) -> Flow[str]:
        try:
            for number in range(3):
                try:
                    self.heard.append((yield Sleep(number)))
                except ConnectionError as error:
                    self.heard.append(error)
            return "done"
        finally:
            self.closed = True

    def do(self, step: Step) -> Any:
        self.done.append(step)
        return f"answer {len(self.done)}"


def test_a_task_that_lives_notices_nothing() -> None:
    task = Task()
    assert drive(unless_killed(task.flow(), task.killed), task.do) == "done"
    assert task.heard == ["answer 1", "answer 2", "answer 3"]


@pytest.mark.parametrize("killed_in", [0, 1, 2])
def test_nothing_is_sent_after_a_kill_and_the_last_answer_is_heard(killed_in: int) -> None:
    task = Task(killed_in)
    with pytest.raises(TaskKilledError):
        drive(unless_killed(task.flow(), task.killed), task.do)
    assert len(task.done) == killed_in
    assert task.heard == [f"answer {number}" for number in range(1, killed_in + 1)]
    assert task.closed


def test_a_flow_that_has_ended_with_the_last_answer_has_its_result() -> None:
    task = Task(3)
    assert drive(unless_killed(task.flow(), task.killed), task.do) == "done"


def test_errors_are_thrown_into_the_flow() -> None:
    task = Task()
    lost = ConnectionError("lost")

    def do(step: Step) -> Any:
        task.do(step)
        raise lost

    assert drive(unless_killed(task.flow(), task.killed), do) == "done"
    assert task.heard == [lost, lost, lost]


def test_an_interrupt_closes_the_flow() -> None:
    task = Task()

    def do(step: Step) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(unless_killed(task.flow(), task.killed), do)
    assert task.closed
