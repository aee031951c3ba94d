"""Implement the tasks of the DAGs, and run a local Airflow."""
