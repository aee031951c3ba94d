"""Turn the bytes of a file into records: one file per format, independent of users and items."""
