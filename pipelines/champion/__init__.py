"""Stage 6: the version that the candidate has to replace."""
