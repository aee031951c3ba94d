"""Turn scores into lists for a whole population: exact top-k, seen items, fold-in, baselines, older models."""
