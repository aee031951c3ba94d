"""Manage the checkout and its temporary worktrees: Git and DVC by subprocess, locks, runs as refs, `.longtail`."""
