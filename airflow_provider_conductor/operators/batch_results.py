"""What has become of a batch: the outputs as a task's result, or the error that the failures are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_conductor.batch.failure_causes import FailureCauses
from airflow_provider_conductor.batch.failure_policy import FailurePolicy
from airflow_provider_conductor.batch.results import Result, chunks, read_results
from airflow_provider_conductor.batch.state import GONE, Batch
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.text import Logger, one_line
from airflow_provider_conductor.exceptions import (
    ConductorBatchFailedError,
    ConductorBatchFailedPermanentlyError,
    ConductorOutputTooLargeError,
)
from airflow_provider_conductor.operators.output import Output, check_storable, json_size
from airflow_provider_conductor.polling.root_cause import Failure
from airflow_provider_conductor.submission.start_plan import StartPlan

if TYPE_CHECKING:
    from airflow_provider_conductor.hooks.conductor import ConductorHook


@dataclass(slots=True, kw_only=True)
class BatchResults:
    """The results of a batch that has ended, read from the server a chunk at a time.

    Args:
        plan_of: place → what was started, to find the workflow by.
        result_path: a file in object storage for them; None for XCom.
        max_output_bytes: the largest list of outputs for XCom.
    """

    batch: Batch
    plan_of: Callable[[int], StartPlan]
    hook: ConductorHook
    log: Logger
    policy: FailurePolicy
    workflow_name: str
    result_path: str | None
    max_output_bytes: int
    wanted: bool = True
    """Whether anybody gets the outputs."""
    _causes: FailureCauses = field(default_factory=FailureCauses)
    _lost: int = 0
    """Workflows that completed and were removed before their outputs were read."""

    def take(self) -> Any:
        """The list of outputs, or the path they were written to.

        Raises:
            ConductorBatchFailedError: more failed than the policy allows.
            ConductorOutputTooLargeError: the outputs are over ``max_output_bytes``, and there is no path.
        """
        batch = self.batch
        if self.policy.broken(batch.failed, batch.total):
            if self.result_path:
                self._written(self._read())
            else:
                for _ in self._read(failed_only=True):
                    pass
            self._raise()
        result = self._written(self._read())
        if self._lost and self.policy.broken(batch.failed + self._lost, batch.total):
            self._raise()
        if batch.failed or self._lost:
            self.log.warning(
                "%d of %d failed, and the outputs of %d are gone, which the policy allows (%s)\n%s",
                *(batch.failed, batch.total, self._lost, self.policy),
                self._causes.describe(self.hook.workflow_url),
            )
        return result

    def _read(self, *, failed_only: bool = False) -> Iterator[Result]:
        for places in chunks(self.batch.total):
            wanted = [index for index in places if self.batch.has_failed(index) or not failed_only]
            if not wanted:
                continue
            for result in self.hook.client.run(read_results(self.batch, wanted, self.plan_of)):
                lost = self._is_lost(result)
                self._lost += lost
                if lost or self.batch.has_failed(result.index):
                    self._causes.add(result)
                yield result

    def _is_lost(self, result: Result) -> bool:
        return self.wanted and self.batch.has_completed(result.index) and result.status == GONE

    def _raise(self) -> NoReturn:
        batch, causes, url_of = self.batch, self._causes, self.hook.workflow_url
        self.hook.client.run(causes.diagnose(url_of))
        # A retry would run again what completed and is gone.
        final = self._lost or (causes.permanent and not batch.pending)
        kind = ConductorBatchFailedPermanentlyError if final else ConductorBatchFailedError
        lost = (
            f", and the outputs of {self._lost:,} that completed cannot be read any more: keep ended workflows on "
            f"the server until the batch has ended (its archive listener, its retention)"
            if self._lost
            else ""
        )
        example = causes.example
        not_started = f", {batch.pending:,} were not started (stop_early)" if batch.pending else ""
        written = f"\nAll results are in {self.result_path}" if self.result_path else ""
        raise kind(
            f"{batch.failed:,} of {batch.total:,} Conductor workflows failed{not_started}{lost} ({self.policy})\n"
            f"{causes.describe(url_of)}{written}",
            failed=batch.failed,
            total=batch.total,
            causes=causes.to_json(),
            failure=Failure(
                workflow_id=example.workflow_id,
                workflow_name=self.workflow_name,
                status=example.status,
                reason=example.reason,
            ),
            url=url_of(example.workflow_id) if example.workflow_id else "",
        )

    def _written(self, results: Iterator[Result]) -> Any:
        results = map(self._whole, results)
        if self.result_path:
            return write_lines(self.result_path, results)
        outputs: list[Any] = []
        size = 2
        for result in results:
            if self._is_lost(result):
                self.log.warning("The output of item %s cannot be read: %s", one_line(result.key), result.reason)
            if self.wanted:
                url = self.hook.workflow_url(result.workflow_id)
                way_out = "have it written to a file (result_path)"
                check_storable(result.output, _name(result), way_out, workflow_id=result.workflow_id, url=url)
            size += json_size(result.output) + 2
            if size > self.max_output_bytes:
                raise ConductorOutputTooLargeError(
                    f"the outputs of the first {result.index + 1:,} of {self.batch.total:,} workflows are over "
                    f"max_output_bytes={self.max_output_bytes:,}; nothing was written to XCom. Give result_path to "
                    "have them written to object storage, let the workflow return less (its outputParameters), or "
                    "raise max_output_bytes"
                )
            outputs.append(result.output)
        return outputs

    def _whole(self, result: Result) -> Result:
        """The result with the output that the server keeps elsewhere, if it does."""
        if not result.external:
            return result
        output = Output({}, result.external, PayloadType.WORKFLOW_OUTPUT, result.workflow_id, _name(result))
        try:
            return replace(result, output=output.read(self.hook), external="")
        except ConductorOutputTooLargeError as error:
            if not self.result_path:
                raise
            self.log.warning("The results have only its location: %s", error)
            return result


def _name(result: Result) -> str:
    return f"the output of item {one_line(result.key)} (workflow {result.workflow_id})"


def write_lines(path: str, results: Iterable[Result]) -> str:
    """Write the results to object storage, one JSON line an item; returns the path."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    target = ObjectStoragePath(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(result.to_json(), default=str) + "\n")
    return path
