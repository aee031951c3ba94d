"""The first page of the OpenAPI document: what the API is for, the first three calls, and the groups of endpoints."""

from __future__ import annotations

import json

from bento.api.examples import Examples

TAGS = {  # in the order of use
    "Recommend": "Lists for a user, a basket, a text, or many users. `tail` moves a list towards the tail, and `where` "
    "keeps the items with given values.",
    "Understand": "Reasons for a recommendation, items like another one, and the model that answers.",
    "Feedback": "Events of users. Later lists use them, and the next training can.",
    "Catalogue": "Items, users, histories, and the columns to filter by.",
    "Previous version": "Answers of the version that served before; `longtail serve --compare` starts it.",
    "Operations": "Readiness for load balancers, counters for Prometheus.",
}
PATHS = {  # tag: first part of each of its addresses
    "Recommend": ("recommend", "recommend_for_items", "recommend_for_text", "recommend_batch"),
    "Understand": ("similar_items", "explain", "model_info"),
    "Feedback": ("feedback",),
    "Catalogue": ("items", "users", "history", "lookup", "columns"),
    "Previous version": ("previous",),
    "Operations": ("exposure", "metrics", "readyz", "livez", "healthz"),
}
TEXT = """Recommends items of a catalogue, and shows items that popularity hides. Send JSON, and read JSON.

**The first three calls**, with ids of this catalogue:

1. Recommend items to a user:

```
{recommend}
```

2. Ask why an item is recommended:

```
{explain}
```

3. Report a click of a visitor, so that the visitor's next list takes it into account:

```
{feedback}
```

The address is that of `longtail serve`; replace it by yours. Every endpoint below has a request to try: open it,
press **Try it out**, then **Execute**.

- **Segments.** `head`: the few most popular items; `tail`: all others; `cold`: tail items without interactions.
- **Errors** are JSON with `error`, a sentence, and have a status of 400 or more. Repeat a request after 429 or 503, and
  wait for the seconds in `Retry-After`. Other errors stay the same until the request or the server changes.
- **Access.** If the server has a key (`LONGTAIL_API_KEY`), send it as a bearer token: press **Authorize**.

Also on this server: [the explorer](./), [the model card](card), [the report of the release gate](report).
"""


def introduction(examples: Examples) -> str:
    """Return the description in Markdown."""
    calls = {name: curl(name, examples) for name in ("recommend", "explain", "feedback")}
    return TEXT.format(**calls)


def curl(name: str, examples: Examples) -> str:
    """Return a shell command that sends the first example of an endpoint."""
    body = json.dumps(next(iter(examples.bodies[name].values())), ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s http://127.0.0.1:3000/{name} -H 'Content-Type: application/json' -d '{body}'"


def tag_of(path: str) -> str:
    """Return the tag of an address; raises StopIteration if no tag has it."""
    first = path.strip("/").split("/")[0]
    return next(tag for tag, names in PATHS.items() if first in names)
