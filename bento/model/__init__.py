"""Do what the packed files can, apart from HTTP."""
