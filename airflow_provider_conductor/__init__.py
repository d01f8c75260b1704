"""Apache Airflow provider for Conductor (conductor-oss and Orkes)."""

__version__ = "0.1.0"
