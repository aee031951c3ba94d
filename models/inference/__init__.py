"""Answer requests with numpy alone: a Bento packs exactly this folder, so no torch, scipy or numba."""
