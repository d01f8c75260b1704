"""Callbacks of Airflow that act in Conductor."""

from airflow_provider_conductor.notifications.conductor import ConductorNotifier

__all__ = ["ConductorNotifier"]
