"""Read the packed files, and recommend, search and explain with them, without HTTP."""
