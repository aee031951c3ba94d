"""Turn any source's rows into canonical tables: accepted or rejected, pseudonymised, merged, kept as partitions."""
