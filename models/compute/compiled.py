"""Where Numba keeps what it has compiled: one folder per user, chosen by what the sources say, not by where they lie.

Each run of Airflow has a worktree of its own, and beside the sources there every one would compile anew, for a quarter
of a minute. NUMBA_CACHE_DIR names another folder.
"""

from __future__ import annotations

import inspect
import linecache
from hashlib import sha256
from types import ModuleType

from numba.core import config
from numba.core.caching import UserProvidedCacheLocator, UserWideCacheLocator

INCLUDED: dict[str, tuple[ModuleType, ...]] = {}  # by file, what its kernels take in from others: Numba looks at none


class BySources:
    """Names the folder; clones and worktrees of equal sources share what was compiled."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        sources = "".join([*linecache.getlines(py_file), *map(inspect.getsource, INCLUDED.get(py_file, ()))])
        return f"longtail-{sha256(sources.encode()).hexdigest()[:32]}"


class Named(BySources, UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR."""


class PerUser(BySources, UserWideCacheLocator):
    """In the user's own cache."""


def share(file: str, *included: ModuleType) -> None:
    """Let functions with `cache=True` that are declared from now on be kept there; where it is read-only, as usual.

    file: that declares them; included: modules whose code they take in.
    """
    INCLUDED[file] = included
    ours = ",".join(f"{locator.__module__}.{locator.__name__}" for locator in (Named, PerUser))
    config.CACHE_LOCATOR_CLASSES = f"{ours},InTreeCacheLocator"  # type: ignore[attr-defined]
