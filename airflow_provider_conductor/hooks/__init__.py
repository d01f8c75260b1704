"""The hook that makes a Conductor client of an Airflow connection."""

from airflow_provider_conductor.hooks.conductor import ConductorHook

__all__ = ["ConductorHook"]
