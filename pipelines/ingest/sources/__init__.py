"""Know where rows come from: one file per `source` of the settings, downloads and unpacking."""
