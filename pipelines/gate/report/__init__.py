"""Show a verdict in the terminal, as Markdown and as a page, without deciding anything."""
