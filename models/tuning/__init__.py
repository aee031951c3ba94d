"""Choose settings on valid: method and strength of re-ranking, exposure prices, the level of cold items."""
