"""Count what is answered, for Prometheus and `longtail monitor`; know no recommender."""
