"""Stage 4: item texts and images as unit vectors, through the cache."""
