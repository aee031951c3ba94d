"""Stage 5: data as arrays, a fit, the search for settings, the ablation of texts."""
