"""Model card for new users: a served model, its verdict, and the resources it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipelines.privacy.markdown import cell

METRICS = ("ndcg@10", "recall@20", "tail_ndcg@10", "tail_recall@20", "tail_coverage@10", "aplt@10", "gini@10")
MEGABYTE = 1e6
HEAD = """---
library_name: bentoml
pipeline_tag: other
tags: [recommender, implicit-feedback, long-tail]
---

# {tag}

Recommends items from the interactions of a user. Before its release it was judged on the long tail of the catalogue.
"""
USE = """## Use

```console
$ bentoml import longtail.tar
$ bentoml serve {tag} --host 127.0.0.1      # without --host it listens on all interfaces; set LONGTAIL_API_KEY then
$ curl -s localhost:3000/recommend -H 'Content-Type: application/json' -d '{{"user_id": "…", "k": 10}}'
```

`/docs` lists the endpoints. The model recommends items of its catalogue to users of its training data, for a history
in the request, and for a free-text query; unknown users get the most popular items, marked as a fallback. The figures
above are those of the users and the time of the holdout; `/exposure` and `/metrics` count the recommendations since.
"""


def write(
    tag: str,
    verdict: Mapping[str, Any],
    metrics: Mapping[str, Any],
    holdout: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """Return the card as Markdown; about: release.json of the Bento."""
    lines = [
        HEAD.format(tag=tag),
        f"**{verdict['verdict']}**: {cell(verdict['reason'])}",
        "",
        *rules(verdict),
        *figures(metrics),
        *data(holdout, about),
        *digests(verdict),
    ]
    return "\n".join(lines) + "\n" + USE.format(tag=tag)


def rules(verdict: Mapping[str, Any]) -> Iterator[str]:
    if verdict["rules"]:
        yield from ("| rule | metric | value | reference | decision |", "|---|---|--:|---|---|")
        for rule in verdict["rules"]:
            cells = (rule["name"], rule["metric"], number(rule["value"]), rule.get("reference"), rule["decision"])
            yield f"| {' | '.join(cell(str(each or '')) for each in cells)} |"
        yield ""


def figures(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of metrics of all models on the same holdout."""
    models = metrics["models"]
    shown = [name for name in METRICS if any(name in values for values in models.values())]
    yield from (f"## Figures of {metrics['n_users']:,} users of the holdout", "")
    yield from (f"| model | {' | '.join(shown)} |", f"|---|{'--:|' * len(shown)}")
    for model, values in models.items():
        yield f"| {cell(model)} | {' | '.join(number(values.get(name)) for name in shown)} |"
    yield ""


def data(holdout: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data and model", "")
    for name, text in (("n_train", "interactions in train"), ("n_users", "users"), ("n_items", "items"),
                       ("n_tail", "tail items"), ("n_cold", "of the tail items cold")):  # fmt: skip
        if name in holdout:
            yield f"- {holdout[name]:,} {text}"
    yield f"- {cell(about['tail'])}"
    yield f"- search: {cell(about['search'])}"
    encoder = about["encoder"]
    kept = ", ".join(f"{name} {encoder[name]}" for name in ("cosine", "overlap@10") if name in encoder)
    how = encoder.get("reason") or f"encoder of the training, form {encoder['form']}; {kept} against the items' vectors"
    yield f"- free-text queries: {cell(how)}"
    yield ""


def digests(verdict: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Digests that the verdict refers to", "", "| | sha256 |", "|---|---|")
    yield from (f"| {name} | `{digest}` |" for name, digest in sorted(verdict["digests"].items()))
    yield ""


def sizes(archive: Path, packed: Path, requirements: Path, *, seconds: float, memory: float) -> str:
    """Return the section on resources; seconds: from a server's start until ready; memory: bytes of its worker."""
    lines = ["", "## Resources", "", "| | |", "|---|--:|", f"| archive | {megabytes(archive.stat().st_size)} |"]
    for part in sorted(packed.iterdir()):
        files = [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())
        lines.append(f"| {part.name}{'/' * part.is_dir()} | {megabytes(sum(path.stat().st_size for path in files))} |")
    n_packages, size = environment(requirements)
    lines += [
        f"| environment, {n_packages} packages besides Python | {megabytes(size)} |",
        f"| cold start until ready, on the machine of the build | {seconds:.1f} s |",
        f"| memory of a worker after its smoke test | {megabytes(memory)} |",
    ]
    return "\n".join(lines) + "\n"


def environment(requirements: Path) -> tuple[int, int]:
    """Return the number of packages that a requirements file installs, and their bytes as installed here."""
    lines = [line.partition("#")[0].strip() for line in requirements.read_text("utf-8").splitlines()]
    waiting, seen, size = [Requirement(line) for line in lines if line], set[str](), 0
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in seen:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        seen.add(name)
        size += sum(path.stat().st_size for file in found.files or () if (path := Path(str(file.locate()))).is_file())
        for text in found.requires or ():
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                waiting.append(further)
    return len(seen), size


def number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def megabytes(size: float) -> str:
    return f"{size / MEGABYTE:,.1f} MB"
