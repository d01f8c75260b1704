"""What differs between the supported Airflow versions about triggers; apart, since DAG files need none of it."""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TriggerEvent

TRIGGERS_HEAR_OF_KILLS = hasattr(BaseTrigger, "on_kill")
"""Airflow 3.3 calls a trigger's ``on_kill``; before it, a killed task's trigger is just cancelled."""

TRIGGERS_RENDER_TEMPLATES = hasattr(BaseTrigger, "render_template_fields")
"""From Airflow 3.3 on, a task may begin in the triggerer though its arguments are templates."""

__all__ = ["TRIGGERS_HEAR_OF_KILLS", "TRIGGERS_RENDER_TEMPLATES", "BaseTrigger", "StartTriggerArgs", "TriggerEvent"]
