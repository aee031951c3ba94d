"""Stage 7: candidate, champion and baselines on one holdout."""
