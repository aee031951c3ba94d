"""Define the commands of the console script, one file per group."""
