"""Choose settings on valid: the way of re-ranking and its strength, exposure prices, the level of cold items."""
