"""Scripts that print tables of measurements, run by the `make bench-…` targets."""
