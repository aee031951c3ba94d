"""Accept feedback: the endpoint, the store, recent events, the rate limit."""
