"""Stage 8: the verdict by its schema, the ledger of judgements, and what other policies would decide."""
