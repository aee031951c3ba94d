"""Keep the checkout and its throw-away worktrees: Git and DVC by subprocess, locks, runs as refs, `.longtail`."""
