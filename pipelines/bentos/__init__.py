"""Handle Bentos as things: built, stored, exported, asked whether they answer like the model."""
