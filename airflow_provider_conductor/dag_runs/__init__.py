"""Internal: DAG runs as tasks of Conductor's workflows, through Airflow's REST API, without Airflow itself."""
