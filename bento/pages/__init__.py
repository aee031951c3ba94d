"""Serve the pages at /, /card, /report and /docs, and the queries that only these pages send."""
