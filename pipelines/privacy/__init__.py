"""Keep user data and secrets from others: modes of files, and text without secrets or control characters."""
