"""Stage 2: the expectations of the canonical tables, and the profile of earlier good versions."""
