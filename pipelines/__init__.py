"""The stages, one public module each, and what they share; all input and output is here."""
