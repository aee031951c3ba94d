"""Take feedback events back into training data."""
