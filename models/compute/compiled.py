"""Numba's cache of compiled code: one folder per user, keyed by the content of the sources, not by their path.

Each run of Airflow has its own worktree, and with a cache beside the sources each would compile again, for a quarter of
a minute. NUMBA_CACHE_DIR sets another folder.
"""

from __future__ import annotations

import inspect
import linecache
from hashlib import sha256
from types import ModuleType

from numba.core import config
from numba.core.caching import UserProvidedCacheLocator, UserWideCacheLocator

INCLUDED: dict[str, tuple[ModuleType, ...]] = {}  # by file, the modules in its kernels, unseen by Numba


class BySources:
    """Cache locator by digest of the sources: clones and worktrees with equal sources share compiled code."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        sources = "".join([*linecache.getlines(py_file), *map(inspect.getsource, INCLUDED.get(py_file, ()))])
        return f"longtail-{sha256(sources.encode()).hexdigest()[:32]}"


class Named(BySources, UserProvidedCacheLocator):
    """Cache in NUMBA_CACHE_DIR."""


class PerUser(BySources, UserWideCacheLocator):
    """Cache in the user's own cache folder."""


def share(file: str, *included: ModuleType) -> None:
    """Use this cache for functions declared with `cache=True` from now on; Numba's default if it is read-only.

    file: the file that declares them; included: modules whose code is inlined into them.
    """
    INCLUDED[file] = included
    ours = ",".join(f"{locator.__module__}.{locator.__name__}" for locator in (Named, PerUser))
    config.CACHE_LOCATOR_CLASSES = f"{ours},InTreeCacheLocator"  # type: ignore[attr-defined]
