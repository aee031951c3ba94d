"""Route requests, limit connections and refuse requests, in front of BentoML's application."""
