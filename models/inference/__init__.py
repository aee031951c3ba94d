"""Answer a request with numpy alone: exactly what a Bento packs, and nothing that needs torch, scipy or numba."""
