"""Build, store and export Bentos, and test their answers against the model."""
