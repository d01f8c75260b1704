"""Links from a task in Airflow's UI to Conductor's."""

from airflow_provider_conductor.links.conductor import ConductorDefinitionLink, ConductorWorkflowLink

__all__ = ["ConductorDefinitionLink", "ConductorWorkflowLink"]
