"""Stage 5: read data as arrays, fit a model, search for settings, measure the ablation of texts."""
