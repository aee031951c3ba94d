"""`longtail cache stats | prune`: show or limit the disk space of cached embeddings."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator
from pathlib import Path

from pipelines.embed import cache, shards
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.embed import Embed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=["stats", "prune"], help="show statistics, or remove the least recently used vectors"
    )
    parser.add_argument(
        "--gigabytes", type=float, help="size limit of prune in GB (default: embed.cache_gigabytes of params.yaml)"
    )


def run_cache(arguments: argparse.Namespace) -> None:
    if arguments.what == "stats":
        for line in stats(cache.root()):
            print(line)
        return
    limit = load(Embed).cache_gigabytes if arguments.gigabytes is None else arguments.gigabytes
    if limit < 0:
        raise ValueError(f"--gigabytes is {limit}, expected 0 or more")
    removed, freed = cache.prune(cache.root(), int(limit * 1e9))
    say("longtail", f"removed {removed} files, {megabytes(freed)}, from {cache.root()}")


def stats(root: Path) -> Iterator[str]:
    """Yield a line per encoder and precision, the most recently used first, and the total."""
    folders = {path.parent for path in root.rglob(f"*{shards.SUFFIX}")}
    rows = sorted((measure(folder) for folder in folders), reverse=True)
    yield f"{'encoder':14}{'precision':>10}{'texts':>14}{'size':>12}{'files':>7}  last used"
    for used, folder, texts, size, files in rows:
        last_used = datetime.datetime.fromtimestamp(used).astimezone().isoformat(" ", "minutes")
        yield f"{folder.parent.name[:12]:14}{folder.name:>10}{texts:>14,}{megabytes(size):>12}{files:>7}  {last_used}"
    yield f"{megabytes(sum(size for _, _, _, size, _ in rows))} in {root.absolute()}"


def measure(folder: Path) -> tuple[float, Path, int, int, int]:
    """Return when a folder was last used (seconds since 1970), the folder, its texts, bytes and files."""
    files = list(folder.glob(f"*{shards.SUFFIX}"))
    about = [file.stat() for file in files]
    texts = sum(shards.length(file) for file in files)
    return max((each.st_mtime for each in about), default=0.0), folder, texts, sum(s.st_size for s in about), len(files)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
