"""Read the sources of rows: one file per `source` of the settings, downloads and unpacking."""
