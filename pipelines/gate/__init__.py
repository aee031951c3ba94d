"""Stage 8: decide the verdict by its schema, keep the ledger of judgements, and try other policies."""
