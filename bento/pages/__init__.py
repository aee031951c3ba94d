"""Serve the pages at / and /docs, and the queries that only these pages send."""
