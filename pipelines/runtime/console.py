"""Progress, messages and exit status of a stage or command."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from safetensors import SafetensorError
from tqdm import tqdm

from pipelines.privacy.shown import shown
from pipelines.runtime import cores

T = TypeVar("T")

RUN = "LONGTAIL_RUN"  # environment variable: id of the run of Airflow that a process works for
TRY_AGAIN = 75  # exit status, EX_TEMPFAIL of sysexits.h: the same may succeed later
ROOM, PERMISSION = "make room on that disk", "change the permissions there, or work in another folder"
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), PERMISSION),
}


class TemporaryError(OSError):
    """An error that may be gone at the next attempt, such as one of the network."""


def run(main: Callable[[], object], name: str) -> None:
    """Call `main`; on bad input, print one line to standard error and exit with status 1, after TemporaryError with 75.

    LONGTAIL_DEBUG=1 shows the traceback as well.
    """
    sys.excepthook = print_traceback
    heed_ctrl_c()
    try:
        main()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit fails again
        raise SystemExit(128 + signal.SIGPIPE) from None
    except (ValueError, OSError, SafetensorError) as error:  # safetensors raises its own error on a full disk
        if os.environ.get("LONGTAIL_DEBUG"):
            raise
        print(f"{name}: error: {sentence(error)}", file=sys.stderr)
        raise SystemExit(TRY_AGAIN if isinstance(error, TemporaryError) else 1) from None
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        raise SystemExit(130) from None


def heed_ctrl_c() -> None:
    """Let SIGINT end this process even if it was started with SIGINT ignored, as by a script's `&`.

    Child processes would inherit that, and then neither Ctrl-C nor `longtail run`, which passes it on, would end them.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an uncaught error, without the secrets of URLs."""
    print(shown("".join(traceback.format_exception(kind, error, trace)), lines=True), end="", file=sys.stderr)


def sentence(error: Exception) -> str:
    """Return the error in one line; add a remedy to errors of the operating system, which have none."""
    text = shown(" ".join(str(error).split()))
    remedy = REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{text}; {remedy}, then run again" if remedy else text


def say(name: str, text: str) -> None:
    """Print a line about the work of a stage."""
    print(shown(f"{name}: {text}"), flush=True)


def progress(name: str, steps: Iterable[T], *, total: int, unit: str) -> Iterator[T]:
    """Yield `steps` while a bar (on a terminal) or a line every few seconds (elsewhere) shows the progress.

    Fast work shows nothing: the stage itself reports the result. Between steps the number of threads follows the number
    of stages that run on this machine.
    """
    steps = followed(steps)
    if sys.stderr.isatty():
        yield from tqdm(steps, total=total, desc=name, unit=f" {unit}", delay=1)
        return
    last, shown = time.monotonic(), False
    for done, step in enumerate(steps, start=1):
        yield step
        if time.monotonic() - last > 5 or (shown and done == total):
            last, shown = time.monotonic(), True
            say(name, f"{done:,} of {total:,} {unit}")


def followed(steps: Iterable[T]) -> Iterator[T]:
    for step in steps:
        yield step
        cores.follow()
