"""The Bento service, slim enough to run without the training stack."""
