"""Stand before BentoML's application: routing, connections, and the refusal of requests."""
