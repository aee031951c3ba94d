"""Pure numpy and torch: no paths, no settings files, no logging, no printing."""
