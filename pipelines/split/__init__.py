"""Stage 3: split the interactions into train, valid and test without leakage."""
