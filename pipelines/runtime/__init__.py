"""Run a stage's process: its messages and exit status, its ranks, its SQL engine."""
