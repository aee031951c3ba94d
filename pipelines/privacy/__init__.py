"""Keep user data and secrets from others: modes of files, text without secrets, control characters or markup."""
