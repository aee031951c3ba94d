"""Stage 3: train, valid and test without leakage."""
