"""Stage 2: validate the canonical tables against expectations, and against the profile of earlier good versions."""
