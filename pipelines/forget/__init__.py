"""Find and remove a user in every store that may name one."""
