"""Show pages for people, at / and /docs, and answer the queries that only they ask."""
