"""Parse the console script's commands: one file per group of them."""
