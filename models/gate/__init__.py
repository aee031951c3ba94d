"""Decide on promotions from evaluations: rules, p-values, levels over attempts and releases, policy."""
