"""DVC's exceptions as errors with a remedy: ValueError where a retry cannot help, else TemporaryError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dvc.config import ConfigError
from dvc.exceptions import CheckoutError, CollectCacheError, DvcException, FileMissingError, FileTransferError
from dvc_objects.fs.errors import AuthError, RemoteMissingDepsError
from dvc_objects.fs.errors import ConfigError as DriverConfigError

from pipelines.runtime.console import TemporaryError

LOST = (CheckoutError, FileMissingError, CollectCacheError)
SETTINGS = (ConfigError, DriverConfigError, AuthError, RemoteMissingDepsError)


@contextmanager
def translated(what: str, *, remote: bool) -> Iterator[None]:
    """Raise ValueError or TemporaryError instead of an exception of DVC; what and remote: as for `translation`."""
    try:
        yield
    except (DvcException, *SETTINGS) as error:
        raise translation(what, error, remote=remote) from error


def translation(what: str, error: Exception, *, remote: bool) -> Exception:
    """Return the error to raise instead of an exception of DVC.

    what: the work that DVC does, for the message; remote: whether it asks its remote for data. Then data that it does
    not find may be there at the next attempt: DVC takes the answer of an overloaded server for «not there».
    """
    if isinstance(error, LOST):
        lost = " and ".join(sorted(map(str, error.target_infos))) if isinstance(error, CheckoutError) else brief(error)
        kind = TemporaryError if remote else ValueError
        return kind(f"{what}: {lost}: {gone(remote=remote)}")
    if isinstance(error, SETTINGS):
        return ValueError(
            f"{what}: DVC cannot use its remote: {brief(error)}; check `dvc remote list` and `dvc config --list`, and "
            "the credentials"
        )
    if isinstance(error, FileTransferError):
        return TemporaryError(f"{what}: {brief(error)}, see the lines above; check that DVC's remote is reachable")
    return TemporaryError(f"{what}: DVC failed: {brief(error)}")


def gone(*, remote: bool) -> str:
    where = "DVC finds this neither in its cache nor in its remote" if remote else "DVC's cache has lost this"
    return f"{where}, as after `dvc gc`; clear the task that wrote it to compute it again, or trigger a new run"


def brief(error: Exception) -> str:
    """Return DVC's message in one line, with its cause, without the address of its documentation."""
    texts = dict.fromkeys(" ".join(str(e).split("<http")[0].split()) for e in (error, error.__cause__) if e is not None)
    return ": ".join(filter(None, texts)).rstrip(". ")[:500]
