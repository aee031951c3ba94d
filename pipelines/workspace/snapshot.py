"""What of the user's checkout, committed or not, makes a run: the files that a snapshot of it holds."""

from __future__ import annotations

DESCRIPTION = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", ".dvcignore")  # what DVC reads at the commit
CODE = ("bento", "models", "pipelines")
