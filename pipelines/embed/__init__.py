"""Stage 4: embed item texts and images as unit vectors, through the cache."""
