"""Computations for building a Bento: the cells of a large catalogue, and the quality of a cheaper encoder."""
