"""What Airflow's UI shows of a workflow, and what its buttons do. Internal: nothing here is meant for users."""
