"""Stage 7: evaluate candidate, champion and baselines on one holdout."""
