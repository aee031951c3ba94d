"""Stage 9: build the Bento, with its contents and model card."""
