"""Turn the catalogue's texts and images into vectors, in bulk and with torch."""
