"""Do what Airflow's tasks do, and run a local Airflow."""
