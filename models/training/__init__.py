"""Learn factors from interactions: one file per model family, shared code, and `trainers`, their registry."""
