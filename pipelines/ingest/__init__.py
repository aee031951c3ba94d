"""Stage 1: convert any supported source to canonical tables, with a reason for every rejected row."""
