"""Rank items for a whole population: exact top-k, seen items, fold-in, baselines, older models."""
