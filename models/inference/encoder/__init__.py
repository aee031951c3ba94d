"""Encode a text as a vector at request time, without torch."""
