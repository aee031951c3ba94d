"""Turn the bytes of a file into records: one file per format, which knows nothing of users or items."""
