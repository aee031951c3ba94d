"""Turn a text into a vector at request time, without torch."""
