"""Users by a keyed hash: HMAC-SHA256 of the id, the first 128 bits of it in hex. The key is never stored."""

from __future__ import annotations

import hashlib
import hmac
import os

import duckdb
import pyarrow as pa

BLOCK = 64  # bytes, of SHA-256 (RFC 2104)
SHORTEST = 16  # characters of a key
NOBODY = "\0key check"  # no id has a control character


def key_in(variable: str) -> bytes:
    """The key in an environment variable; ValueError where there is none worth the name."""
    key = os.environ.get(variable, "").encode("utf-8", "surrogateescape")
    if len(key) < SHORTEST:
        raise ValueError(
            f"ingest.pseudonyms names the environment variable {variable}, which holds {len(key)} characters; put a "
            f"secret of at least {SHORTEST} there, the same at every run"
        )
    return key


def pseudonym(user_id: str, key: bytes) -> str:
    return hmac.new(key, user_id.encode(), "sha256").hexdigest()[:32]


def check(key: bytes) -> str:
    """Eight hex digits that tell this key from another one, and say no more of it than a pseudonym of nobody does."""
    return pseudonym(NOBODY, key)[:8]


def use(con: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Let SQL use a key; as variables, since the text of a statement ends up in messages."""
    padded = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    pads = {name: [bytes(byte ^ mask for byte in padded)] for name, mask in (("inner_key", 0x36), ("outer_key", 0x5C))}
    con.register("pads", pa.table(pads))
    con.execute("".join(f"set variable {name} = (select {name} from pads);" for name in pads))
    con.unregister("pads")


def sql(user_id: str) -> str:
    """SQL of the pseudonym of a column, by the key in use."""
    inner = f"unhex(sha256(getvariable('inner_key') || encode({user_id})))"
    return f"left(sha256(getvariable('outer_key') || {inner}), 32)"
