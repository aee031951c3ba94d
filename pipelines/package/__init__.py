"""Stage 9: the contents of the Bento and its model card."""
