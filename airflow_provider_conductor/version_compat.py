"""What differs between the supported Airflow versions and is not bridged by common-compat."""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:  # Airflow 3.2 and later
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
except ImportError:
    from airflow.exceptions import TaskDeferralError

    try:  # Airflow 3.0 and 3.1
        from airflow.exceptions import TaskDeferralTimeout
    except ImportError:  # Airflow 2.11 has one error for a trigger that failed and one that ran out of time
        TaskDeferralTimeout = TaskDeferralError

__all__ = ["BaseTrigger", "TaskDeferralError", "TaskDeferralTimeout", "TriggerEvent"]
