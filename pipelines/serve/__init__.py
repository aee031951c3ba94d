"""Serve and monitor: the supervisor, generations of workers, the memory of an address."""
