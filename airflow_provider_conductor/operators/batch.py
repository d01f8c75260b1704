"""Operator: execute many Conductor workflows in one Airflow task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import timezone

from airflow_provider_conductor.batch.failure_policy import FailurePolicy
from airflow_provider_conductor.batch.inputs import checked, keys_of
from airflow_provider_conductor.batch.state import Batch, stored_active_ids
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.plain import plain_inside
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.exceptions import (
    AirflowTaskKilledError,
    ConductorBatchInputsChangedError,
    ConductorStartRefusedError,
    ConductorTriggerEventError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.links.conductor import WORKFLOW_URL_KEY
from airflow_provider_conductor.operators.arguments import is_template, whole_number
from airflow_provider_conductor.operators.conclusion import client_error
from airflow_provider_conductor.operators.deferral import WaitArguments
from airflow_provider_conductor.operators.submission import StartsWorkflow, check_context_key
from airflow_provider_conductor.polling.durations import patience
from airflow_provider_conductor.submission.start_record import StartRecord

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.batch.plan import BatchPlan
    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.operators.batch_run import BatchRun
    from airflow_provider_conductor.submission.start_plan import StartPlan

CHECKPOINT_KEY = "conductor_batch"
"""Key in the task state store of which items have completed."""

MAX_ACTIVE_LIMIT = 10_000
"""The ids of what runs are a trigger's arguments: 40 bytes each in Airflow's metadata database."""


class ConductorExecuteWorkflowsOperator(WaitArguments, StartsWorkflow):
    """Execute one workflow for each of many inputs, so many at a time, and wait for all.

    Args:
        workflow_name: name of the definition; ``version``, ``workflow_def``, ``priority``, ``task_to_domain`` and
            ``pass_context``, as ``ConductorStartWorkflowOperator`` has them, are the same for all.
        workflow_inputs: a list (or another iterable, or a template of one) of dicts, one workflow each.
        item_key: name of an input field that identifies an item, such as ``order_id``. Left out, it is the place in
            the list: then the list must be the same in a retry.
        max_active: how many workflows may run at a time, 1 to 10,000.
        failure_policy: when the task fails: ``any`` workflow failed, ``all`` did, or more than a share of them (0.05).
        stop_early: start no more workflows once the task is bound to fail; what runs is waited for.
        wait_for_seconds: how long the task stays on its worker while nothing starts or ends, before it is deferred.
        deferrable: wait in the triggerer while workflows run. Default: Airflow's ``default_deferrable``.
        poll_interval: seconds between polls; None adapts them to the workflows.
        timeout: seconds (or timedelta) for the whole batch in one try; None waits on.
        stall_timeout: seconds (or timedelta) without progress after which a single workflow counts as failed.
        on_timeout: ``terminate`` what runs when a timeout comes, or ``leave`` it.
        retry_from: what a retry does with failed workflows; completed ones are kept.
        cancel_on_kill: terminate what runs when Airflow kills the task.
        max_output_bytes: largest list of outputs written to XCom.
        result_path: a file in object storage (``s3://…``, ``file:///…``) for the results, one JSON line an item.

    Returns the outputs in the order of the inputs, None for a workflow that failed and is tolerated. With
    ``result_path``, that path.

    Raises:
        ConductorBatchFailedError: more workflows failed than ``failure_policy`` allows; it has the causes.
        ConductorWorkflowTimeoutError: a timeout ended the wait.
        ConductorStartRefusedError: inputs that cannot be sent, or no such definition; not retried.
        ConductorOutputTooLargeError: the outputs are over ``max_output_bytes``, and there is no ``result_path``.
    """

    template_fields: Sequence[str] = (
        *("conductor_conn_id", "workflow_name", "version", "workflow_inputs", "item_key", "workflow_def"),
        *("priority", "task_to_domain", "max_active", "failure_policy", "result_path"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"workflow_inputs": "json", "workflow_def": "json"}

    _batch_run: BatchRun | None = None

    def __init__(
        self,
        *,
        workflow_inputs: Iterable[Mapping[str, Any]] | str | Any,
        item_key: str | None = None,
        max_active: int | str = 100,
        failure_policy: Literal["any", "all"] | float | str = "any",
        stop_early: bool = False,
        wait_for_seconds: float | timedelta = 10,
        result_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("workflow_input", "correlation_id", "request"):
            if name in kwargs:
                raise TypeError(f"{name} is of a single workflow; a batch has workflow_inputs, and ids of its own")
        # None, and not left out: Airflow would add what the DAG's default_args have for other operators.
        super().__init__(workflow_input=None, correlation_id=None, request=None, **kwargs)
        if isinstance(workflow_inputs, Iterator):  # it could be read but once, and a task is copied
            workflow_inputs = list(workflow_inputs)
        if isinstance(workflow_inputs, (list, tuple, Mapping)):
            if not workflow_inputs:
                raise ValueError("workflow_inputs is empty: give a list of dicts, one for each workflow")
            for item in checked(workflow_inputs, later=is_template):
                if self.pass_context:
                    check_context_key(item)
        if not is_template(max_active):
            active_limit(max_active)
        if not is_template(failure_policy):
            FailurePolicy.of(failure_policy)
        self.workflow_inputs = plain_inside(workflow_inputs)
        self.item_key = item_key
        self.max_active = max_active
        self.failure_policy = failure_policy
        self.stop_early = stop_early
        self.wait_for_seconds = patience(wait_for_seconds, "wait_for_seconds")
        self.result_path = result_path

    def execute(self, context: Context) -> Any:
        self._begin(context)
        self._guard.protect(self._stop_after_kill)
        inputs, keys = self._items()
        if not inputs:
            self.log.info("There are no inputs, so there is nothing to execute")
            from airflow_provider_conductor.operators.batch_results import write_lines

            return write_lines(self.result_path, ()) if self.result_path else []
        plan_of = self._plans(inputs, keys)
        base = plan_of(0)
        batch = self._saved_batch(keys, base) or Batch(keys=keys, began=timezone.utcnow().timestamp())
        self._save_record(
            StartRecord(max_tries=base.max_tries, first_try=base.identity.series, series_began=base.series_began)
        )
        may_have_started = base.identity.may_have_started or base.record is not None
        plan = self._batch_plan(plan_of, batch, self._guard.deadline(self.timeout), may_have_started=may_have_started)
        return self._run_batch(batch, plan)

    def execute_complete(
        self, context: Context, event: Any = None, deadline: float | None = None, state: Any = None
    ) -> Any:
        """Take over from the triggerer; the inputs are rendered anew, and must be the same.

        Args:
            deadline: when the whole wait is over, seconds since the epoch.
            state: the batch as it was when it was deferred.

        Raises:
            ConductorTriggerEventError: an event of an unknown shape.
            ConductorBatchInputsChangedError: the inputs were rendered to something that cannot be used.
        """
        self._begin(context)
        self._guard.protect(self._stop_after_kill)
        if not isinstance(event, Mapping) or not isinstance(event.get("status"), str):
            raise ConductorTriggerEventError(f"the trigger sent an unknown event, so the task fails: {event!r}")
        message = one_line(event.get("message") or "", 1_000)
        self.log.info("The trigger reported: %s", f"{event['status']} {message}".strip())
        if event["status"] == "error":
            kind = client_error(event.get("error"))
            raise kind(f"the wait failed: {message}")
        active = stored_active_ids(state)
        try:
            inputs, keys = self._items()
            if not inputs:
                raise ConductorStartRefusedError("workflow_inputs was rendered to an empty list")
            plan_of = self._plans(inputs, keys)
        except ConductorStartRefusedError as error:
            raise ConductorBatchInputsChangedError(
                "the batch cannot continue, since its inputs have changed since the deferral: "
                f"{str(error).removesuffix('; nothing was started')}. Check whether the task that they come from was "
                f"cleared. {self._terminate_orphans(active)}"
            ) from error
        batch = Batch.from_json(keys, state)
        if batch is not None:
            completed = event.get("completed")
            plan = self._batch_plan(plan_of, batch, deadline, may_have_started=plan_of(0).identity.may_have_started)
            plan = replace(plan, looked_up=True, completed_elsewhere=completed if isinstance(completed, list) else ())
            return self._run_batch(batch, plan)
        self.log.warning(
            "The inputs were rendered differently than before the deferral, so the workflows that this task has "
            "started are looked up again. Give item_key, or inputs that stay the same"
        )
        self._terminate_without_input(active, list(map(plan_of, range(len(inputs)))))
        batch = Batch(keys=keys, began=timezone.utcnow().timestamp())
        return self._run_batch(batch, self._batch_plan(plan_of, batch, deadline, may_have_started=True))

    def _items(self) -> tuple[list[Mapping[str, Any]], list[str]]:
        """The inputs and their keys; refused as a whole before anything is sent."""
        try:
            inputs = checked(self.workflow_inputs)
            return inputs, keys_of(inputs, self.item_key or None)
        except (TypeError, ValueError) as error:
            raise ConductorStartRefusedError(f"{error}; nothing was started") from error

    def _plans(self, inputs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Callable[[int], StartPlan]:
        """Place → plan; each input is read once, so that none is refused when half of them run."""
        from airflow_provider_conductor.client.endpoints import StartBody, start_body

        base = self._start_plan()

        def plan_of(index: int) -> StartPlan:
            return replace(
                base,
                identity=replace(base.identity, item=keys[index]),
                body=StartBody({**base.body, "input": inputs[index]}),
            )

        for index in range(len(inputs)):
            try:
                start_body({"name": base.name, "input": inputs[index]})
                if self.pass_context:
                    check_context_key(inputs[index])
            except ValueError as error:
                raise ConductorStartRefusedError(f"workflow_inputs[{index}]: {error}; nothing was started") from error
        return plan_of

    def _batch_plan(
        self, plan_of: Callable[[int], StartPlan], batch: Batch, deadline: float | None, *, may_have_started: bool
    ) -> BatchPlan:
        from airflow_provider_conductor.batch.plan import BatchPlan

        policy = FailurePolicy.of(self.failure_policy)
        return BatchPlan(
            plan_of=plan_of,
            max_active=active_limit(self.max_active),
            may_have_started=may_have_started,
            starts_no_more=lambda: self.stop_early and policy.broken(batch.failed, batch.total),
            deadline=deadline,
            stall_timeout=self.stall_timeout,
            poll_interval=self.poll_interval,
            timeout_reason=self._timeout_reason,
        )

    def _saved_batch(self, keys: Sequence[str], plan: StartPlan) -> Batch | None:
        """What an earlier try of the series has saved; its completed items need not even be looked up."""
        saved = self._run.state_store.get(CHECKPOINT_KEY)
        of_series = _series(plan).items()
        if not isinstance(saved, Mapping) or not of_series <= saved.items():
            return None
        batch = Batch.from_json(keys, saved.get("batch"))
        if batch is not None:
            batch.reset_for_retry()
            batch.began, batch.before = timezone.utcnow().timestamp(), batch.ended
        return batch

    def _save_batch(self, batch: Batch, plan: StartPlan) -> None:
        """Save it, but for what is active: a later try has to look that up in any case."""
        if self._run.state_store:
            value = {**_series(plan), "batch": {**batch.to_json(), "active": {}}}
            self._run.state_store.set(CHECKPOINT_KEY, value)

    def _run_batch(self, batch: Batch, plan: BatchPlan) -> Any:
        """Run the batch on this worker, until it has ended or is better waited for elsewhere."""
        from airflow_provider_conductor.batch.plan import BatchOutcome
        from airflow_provider_conductor.operators.batch_results import BatchResults
        from airflow_provider_conductor.operators.batch_run import BatchRun
        from airflow_provider_conductor.submission.errors import StartRefusedError

        saved_as = plan.plan_of(0)
        self._batch_run = run = BatchRun(
            self.hook.settings,
            batch,
            plan,
            self.log,
            save=lambda: self._save_batch(batch, saved_as),
            announce=self._announce_first,
        )
        if self._guard.killed:
            run.kill(self._kill_reason)
        try:
            outcome = run.run(self.wait_for_seconds if self.deferrable else None)
        except StartRefusedError as error:
            raise self._refused(error) from error
        progress = batch.progress(timezone.utcnow().timestamp())
        self.log.info(progress)
        match outcome:
            case BatchOutcome.KILLED:
                raise AirflowTaskKilledError("the task was killed while workflows of the batch were running")
            case BatchOutcome.TIMEOUT:
                done = "its workflows keep running (on_timeout='leave')"
                if plan.timeout_reason is not None:
                    done = f"its running workflows {'were' if run.could_terminate else 'could not be'} terminated"
                raise ConductorWorkflowTimeoutError(f"timeout: the batch did not end in time; {done}. {progress}")
            case BatchOutcome.QUIET if self._guard.killed:  # since the driver has returned
                return self._run_batch(batch, plan)
            case BatchOutcome.QUIET:
                from airflow_provider_conductor.triggers.batch import ConductorWorkflowsTrigger

                arguments = {
                    "workflow_ids": list(batch.active_ids().values()),
                    "more": batch.pending > 0 and not plan.starts_no_more(),
                    "max_active": plan.max_active,
                    "started_at": batch.began,
                    "deadline": plan.deadline,
                    "stall_timeout": self.stall_timeout,
                    "poll_interval": self.poll_interval,
                }
                self._defer_to(ConductorWorkflowsTrigger, arguments, state=batch.to_json())
        result = BatchResults(
            batch=batch,
            plan_of=plan.plan_of,
            hook=self.hook,
            log=self.log,
            policy=FailurePolicy.of(self.failure_policy),
            workflow_name=self.workflow_name or "",
            result_path=self.result_path or None,
            max_output_bytes=self.max_output_bytes,
            wanted=self.do_xcom_push or bool(self.result_path),
        ).take()
        self._forget_start()
        return result

    def _announce_first(self, workflow_id: str) -> None:
        """Write the link to one of the workflows; ten thousand links are in the results, if anywhere."""
        url = self.hook.workflow_url(workflow_id)
        self.log.info("The first of the workflows: %s", url)
        self._run.push(WORKFLOW_URL_KEY, url)

    def _forget_start(self) -> None:
        super()._forget_start()
        self._run.state_store.delete(CHECKPOINT_KEY)

    @property
    def _kill_reason(self) -> str | None:
        """Given to what is terminated because the task was killed; None leaves it running."""
        if self._guard.timed_out:
            return self._timeout_reason
        return self._guard.killed_reason if self.cancel_on_kill else None

    def _stop_after_kill(self) -> None:
        if self._batch_run is not None:
            self._batch_run.kill(self._kill_reason)

    def _terminate_orphans(self, workflow_ids: Sequence[str]) -> str:
        """Terminate workflows whose inputs are gone, unless workflows outlive their task; returns what was done."""
        from airflow_provider_conductor.client.termination import terminate

        if not workflow_ids:
            return "None of its workflows was running"
        if not self.cancel_on_kill:
            return f"{len(workflow_ids):,} of its workflows still run (cancel_on_kill=False)"
        try:
            done = self.hook.client.run(terminate(workflow_ids, self._guard.killed_reason))
        except ConductorError as error:
            return f"{len(workflow_ids):,} of its workflows could not be terminated and may still run: {error}"
        return f"{len(done.terminated):,} of its workflows were terminated, {len(done.ended):,} had ended"

    def _terminate_without_input(self, active: Sequence[str], plans: Sequence[StartPlan]) -> None:
        """Of what ran before the deferral, terminate what belongs to none of the present inputs."""
        from airflow_provider_conductor.client.flows import read_many

        expected = {plan.identity.correlation_id(key) for plan in plans for key in plan.identity.all_keys()}
        try:
            workflows = self.hook.client.run(read_many(active))
        except ConductorError as error:
            self.log.warning("The workflows whose inputs are gone cannot be identified, and still run: %s", error)
            return
        orphans = [item.workflow_id for item in workflows.values() if item.correlation_id not in expected]
        if orphans:
            self.log.warning("Some inputs are gone. %s", self._terminate_orphans(orphans))

    def _found(self, plans: Sequence[StartPlan]) -> list[Workflow]:
        """What a look-up finds of them, and what only the search index has of others that may have been started.

        Items are started in order, so many at a time.
        """
        from airflow_provider_conductor.submission.lookup import look_up, look_up_in_index

        found = self.hook.client.run(look_up(plans))
        last = max((index for index, items in enumerate(found) if items), default=-1)
        started = range(min(len(plans), last + 1 + active_limit(self.max_active)))
        missing = [plans[index] for index in started if not found[index]]
        if missing:
            found += self.hook.client.run(look_up_in_index(missing))
        return [item.workflow for items in found for item in items]

    def _end_after_silence(self) -> None:
        if self.on_timeout == "leave":
            return
        from airflow_provider_conductor.client.termination import terminate

        try:
            inputs, keys = self._items()
            found = self._found(list(map(self._plans(inputs, keys), range(len(inputs)))))
            running = [workflow.workflow_id for workflow in found if not workflow.status.ended]
            done = self.hook.client.run(terminate(running, self._guard.timed_out_reason))
        except (ConductorError, ConductorStartRefusedError) as error:  # which must not hide why the task was resumed
            self.log.error("The running workflows of the batch could not be terminated: %s", error)
        else:
            self.log.error("The triggerer did not answer in time; %d workflows were terminated", len(done.terminated))


def _series(plan: StartPlan) -> dict[str, int]:
    """What identifies the series of a checkpoint."""
    return {"first_try": plan.identity.series, "max_tries": plan.max_tries}


def active_limit(value: Any) -> int:
    """``max_active`` as a number.

    Raises:
        ValueError: not a whole number from 1 to 10,000.
    """
    number = None if isinstance(value, bool) else whole_number(value, "max_active")
    if number is None or not 1 <= number <= MAX_ACTIVE_LIMIT:
        raise ValueError(f"max_active must be a whole number from 1 to {MAX_ACTIVE_LIMIT:,}, not {value!r}")
    return number
