"""The trigger of an approval: waits until a task of a workflow is answered, in Conductor or in Airflow."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor._required_actions import AirflowAnswer, answers_resume_tasks, close, read_answer
from airflow_provider_conductor.control.approval import ANSWERED_EVENT, Question, answer_in
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait_event import TASK_ENDED, TIMEOUT, WaitEvent
from airflow_provider_conductor.triggers.answers import shared_reader
from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger


class ConductorApprovalTrigger(ConductorWorkflowTrigger):
    """Waits for the end of the task that was made a required action, or for the answer to that.

    The wait for the task is that of :class:`ConductorWorkflowTrigger`, with its poller. Before the event the required
    action is closed, unless it has been answered: from then on an answer in Airflow is refused (409).

    The event is that of ``ConductorWorkflowTrigger``, or has the status ``answered`` and in ``answer``, as JSON text,
    the answer that was given in Airflow.

    Args:
        ti_id: id of the task instance that has the required action.
        options, reject_options, params: of the question.
        defaults: the answer when nobody answers in time.
    """

    def __init__(
        self,
        *,
        ti_id: str,
        options: Sequence[str],
        reject_options: Sequence[str] = (),
        params: Sequence[str] = (),
        defaults: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ti_id = ti_id
        self.options = list(options)
        self.reject_options = list(reject_options)
        self.params = list(params)
        self.defaults = None if defaults is None else list(defaults)

    def _arguments(self) -> dict[str, Any]:
        own = ("ti_id", "options", "reject_options", "params", "defaults")
        return super()._arguments() | {name: getattr(self, name) for name in own}

    async def _wait(self, poller: Poller) -> dict[str, Any]:
        answer = await self._answer_by_now()
        if answer is not None:
            return self._answered(answer)
        if answers_resume_tasks():
            event = await self._wait_for_task(poller)
        else:
            found = await self._first(poller)
            if isinstance(found, AirflowAnswer):
                return self._answered(found)
            event = found
        faster = await self._close(event)
        if faster is not None and event.status == TIMEOUT:
            return self._answered(faster)
        return event.to_json()

    async def _wait_for_task(self, poller: Poller) -> WaitEvent:
        return await poller.run(self._wait_flow(poller, self.spec, self.state))

    async def _first(self, poller: Poller) -> WaitEvent | AirflowAnswer:
        """What comes first, the end of the wait for the task or an answer in Airflow."""
        ended = asyncio.create_task(self._wait_for_task(poller))
        answered = asyncio.create_task(shared_reader().wait(self.ti_id))
        try:
            await asyncio.wait((ended, answered), return_when=asyncio.FIRST_COMPLETED)
            # Conductor's side first: what is in its task already counts.
            return ended.result() if ended.done() else answered.result()
        finally:
            for task in (ended, answered):
                task.cancel()
            for task in (ended, answered):
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _answer_by_now(self) -> AirflowAnswer | None:
        """The answer of somebody who was faster than the deferral, which Airflow then resumes nobody with."""
        try:
            return await read_answer(self.ti_id)
        except Exception as error:  # whatever the supervisor answers
            self.log.warning("The answer to the required action cannot be read: %s", error)
            return None

    async def _close(self, event: WaitEvent) -> AirflowAnswer | None:
        """Close the required action, if the event is an answer to it; returns the answer that is there already."""
        chosen: Sequence[str] = ()
        params: Mapping[str, Any] = {}
        if event.status == TIMEOUT:
            chosen = self.defaults or ()
        elif event.status == TASK_ENDED or event.workflow is not None:
            task = event.workflow and event.workflow.latest_attempt(self.spec.wait_until_task_ref or "")
            question = Question(options=self.options, reject_options=self.reject_options, params=self.params)
            answer = task and answer_in(task, question, is_ours=lambda worker_id: False)
            if answer:
                chosen = answer.chosen_options
                params = {name: answer.params_input[name] for name in self.params if name in answer.params_input}
        if not chosen:
            return None  # it ends with the task
        try:
            return await close(self.ti_id, chosen, params)
        except Exception as error:  # whatever the supervisor answers
            self.log.warning("The required action could not be closed; it ends with the task: %s", error)
            return None

    def _answered(self, answer: AirflowAnswer) -> dict[str, Any]:
        """The event of an answer in Airflow: as text, in which the metadata database stores anything."""
        text = json.dumps(answer.to_json())
        return {**self._ids_of_event, "status": ANSWERED_EVENT, "message": "", "answer": text}
