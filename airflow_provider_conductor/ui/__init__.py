"""The pages in Airflow's UI: a plugin of Airflow's API server. Internal: nothing here is meant for users."""
