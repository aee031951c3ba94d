"""Export feedback events as training data."""
