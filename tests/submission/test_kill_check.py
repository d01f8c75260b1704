"""A flow stops before its next step when its task has been killed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.flow import Flow, Sleep, Step, drive
from airflow_provider_conductor.submission.errors import TaskKilledError
from airflow_provider_conductor.submission.kill_check import unless_killed


class Task:
    """A task that is killed while the step with this number is under way; 0 is before the first."""

    def __init__(self, killed_in: int | None = None, failure: BaseException | None = None) -> None:
        self.killed_in, self.failure = killed_in, failure
        self.done: list[Step] = []
        self.heard: list[Any] = []
        self.closed = False

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

    def run(self) -> str:
        return drive(unless_killed(self.flow(), lambda: len(self.done) == self.killed_in), self.do)

    def do(self, step: Step) -> Any:
        self.done.append(step)
        if self.failure is not None:
            raise self.failure
        return f"answer {len(self.done)}"


@pytest.mark.parametrize("killed_in", [0, 1, 2, 3, None])
def test_nothing_is_sent_after_a_kill_and_the_last_answer_arrives(killed_in: int | None) -> None:
    task = Task(killed_in)
    steps = 3 if killed_in is None else killed_in
    if steps < 3:
        with pytest.raises(TaskKilledError):
            task.run()
    else:  # a flow that has ended with the last answer has its result
        assert task.run() == "done"
    assert len(task.done) == steps
    assert task.heard == [f"answer {number}" for number in range(1, steps + 1)]
    assert task.closed


@pytest.mark.parametrize("failure", [ConnectionError("lost"), KeyboardInterrupt()])
def test_errors_are_thrown_into_the_flow_and_an_interrupt_closes_it(failure: BaseException) -> None:
    task = Task(failure=failure)
    if isinstance(failure, Exception):
        assert task.run() == "done"
        assert task.heard == [failure] * 3
    else:
        with pytest.raises(KeyboardInterrupt):
            task.run()
    assert task.closed
