"""Count answers and served lists, for Prometheus and `longtail monitor`; import no recommender."""
