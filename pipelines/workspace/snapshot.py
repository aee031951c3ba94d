"""Files of the user's checkout, committed or not, that are part of the snapshot of a run."""

from __future__ import annotations

DESCRIPTION = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", ".dvcignore")  # read by DVC at the commit
CODE = ("bento", "models", "pipelines")
