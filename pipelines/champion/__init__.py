"""Stage 6: find the version that the candidate has to replace."""
