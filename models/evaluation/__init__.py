"""Evaluate lists: one file per kind of metric, slices, and the protocol of the holdout."""
