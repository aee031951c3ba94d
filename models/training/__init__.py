"""Learn factors from interactions: one file per model family, what they share, and their list, `trainers`."""
