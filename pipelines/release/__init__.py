"""Change what serves: from candidate to release commit, promote, roll back; say what serves and where it comes from."""
