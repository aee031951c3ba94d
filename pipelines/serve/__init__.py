"""Serve and monitor: the supervisor, its generations of workers, its memory of the last version."""
