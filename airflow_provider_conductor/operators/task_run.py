"""One try of an Airflow task, as the operators need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor._airflow import TaskStateStore, task_span
from airflow_provider_conductor.submission.identity import TaskIdentity
from airflow_provider_conductor.submission.start_record import StartRecord, first_try_of_series
from airflow_provider_conductor.submission.termination_reasons import label_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor._airflow import TaskInstance, TaskSpan

DEFAULT_IDENTITY_PREFIX = "airflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """What is needed of Airflow's context, read once.

    Attributes:
        ti: Airflow's task instance.
        dag_run: Airflow's dag run.
        map_index: -1 for a task that is not mapped.
        max_tries: as Airflow has it now; a clear raises it.
        started_at, dag_run_started_at: when the try, and its dag run, began: seconds since the epoch, or None where
            Airflow has no date.
        logical_date: None for a dag run without one.
        clear_number: how often tasks of the dag run have been cleared (Airflow 3.3), or None.
        state_store: what the task remembers across its tries.
    """

    ti: TaskInstance
    dag_run: Any
    map_index: int
    max_tries: int
    started_at: float | None
    dag_run_started_at: float | None
    logical_date: datetime | None
    clear_number: int | None
    state_store: TaskStateStore

    @classmethod
    def of(cls, context: Context) -> TaskRun:
        """Read Airflow's context, on a worker."""
        ti: TaskInstance = context["ti"]
        dag_run = context["dag_run"]
        return cls(
            ti=ti,
            dag_run=dag_run,
            map_index=-1 if ti.map_index is None else ti.map_index,
            max_tries=ti.max_tries or 0,
            started_at=_seconds(ti.start_date),
            dag_run_started_at=_seconds(dag_run.start_date),
            logical_date=getattr(dag_run, "logical_date", None),
            clear_number=getattr(dag_run, "clear_number", None),
            state_store=TaskStateStore(context),
        )

    @property
    def log_url(self) -> str | None:
        """The page of the task instance's log, or None. It is read on demand: 2.11 needs its configuration for it."""
        return getattr(self.ti, "log_url", None) or None

    @property
    def span(self) -> TaskSpan | None:
        """The task's span in this process, or None where nothing is traced; looked up on demand."""
        return task_span(self.ti, self.dag_run)

    @property
    def label(self) -> str:
        """The task as reasons and messages name it."""
        return label_of(self.ti)

    def push(self, key: str, value: object) -> None:
        """Write to the task's XCom."""
        self.ti.xcom_push(key=key, value=value)

    def pull(self, key: str) -> Any:
        """Read what this task instance itself has written to XCom, or None."""
        return self.ti.xcom_pull(task_ids=self.ti.task_id, key=key, map_indexes=self.map_index)

    def identity(self, prefix: str | None, *, retries: int | None, record: StartRecord | None = None) -> TaskIdentity:
        """This try of a series; on a worker only, since in a triggerer ``max_tries`` is just ``retries``."""
        return TaskIdentity(
            prefix=prefix or DEFAULT_IDENTITY_PREFIX,
            dag_id=self.ti.dag_id,
            run_id=self.ti.run_id,
            task_id=self.ti.task_id,
            map_index=self.map_index,
            try_number=self.ti.try_number,
            first_try=first_try_of_series(record, max_tries=self.max_tries, retries=retries or 0),
        )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
