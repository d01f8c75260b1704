"""What differs between the supported Airflow versions and is not bridged by common-compat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

try:  # Airflow 3.2 and later
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
except ImportError:
    from airflow.exceptions import TaskDeferralError

    try:  # Airflow 3.0 and 3.1
        from airflow.exceptions import TaskDeferralTimeout
    except ImportError:  # Airflow 2.11 has one error for a trigger that failed and one that ran out of time
        TaskDeferralTimeout = TaskDeferralError

try:  # Airflow 3.3
    from airflow.sdk.execution_time.context import NEVER_EXPIRE
except ImportError:
    NEVER_EXPIRE = None


class TaskStateStore:
    """What a task remembers across its tries: Airflow 3.3's ``task_state_store``; before it, nothing."""

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store") if NEVER_EXPIRE is not None else None

    def __bool__(self) -> bool:
        return self._store is not None

    def get(self, key: str) -> Any:
        return self._store.get(key) if self else None

    def set(self, key: str, value: str) -> None:
        if self:
            self._store.set(key, value, retention=NEVER_EXPIRE)

    def delete(self, key: str) -> None:
        if self:
            self._store.delete(key)


__all__ = ["BaseTrigger", "TaskDeferralError", "TaskDeferralTimeout", "TaskStateStore", "TriggerEvent"]
