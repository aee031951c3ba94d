"""Stage 1: any supported source as canonical tables, with a reason for every rejected row."""
