"""Release models: make release commits of candidates, promote, roll back; report status and lineage."""
