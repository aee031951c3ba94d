"""What is served: the Bento service, slim enough to run without the training stack."""
