"""Encode the catalogue's texts and images as vectors, in bulk and with torch."""
