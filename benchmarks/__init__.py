"""Scripts that print the tables of measurements; each is run by a `make bench-…` target."""
