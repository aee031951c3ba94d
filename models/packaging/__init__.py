"""Compute what a Bento is built with: the cells of a large catalogue, the neighbours that a cheaper encoder keeps."""
