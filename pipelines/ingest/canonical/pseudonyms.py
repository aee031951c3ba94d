"""Pseudonyms of users by a keyed hash: the first 128 bits of HMAC-SHA256 of the id, in hex. The key is never stored."""

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
    """Return the key in an environment variable; raises ValueError if it is missing or too short."""
    key = os.environ.get(variable, "").encode("utf-8", "surrogateescape")
    if len(key) < SHORTEST:
        raise ValueError(
            f"the environment variable {variable} (ingest.pseudonyms) has {len(key)} characters, expected a secret of "
            f"at least {SHORTEST}; set it, to the same value for every run"
        )
    return key


def pseudonym(user_id: str, key: bytes) -> str:
    return hmac.new(key, user_id.encode(), "sha256").hexdigest()[:32]


def check(key: bytes) -> str:
    """Return eight hex digits that distinguish keys; they reveal no more of the key than any pseudonym."""
    return pseudonym(NOBODY, key)[:8]


def use(con: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Make a key available to SQL as variables, since error messages quote the text of statements."""
    padded = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    pads = {name: [bytes(byte ^ mask for byte in padded)] for name, mask in (("inner_key", 0x36), ("outer_key", 0x5C))}
    con.register("pads", pa.table(pads))
    con.execute("".join(f"set variable {name} = (select {name} from pads);" for name in pads))
    con.unregister("pads")


def sql(user_id: str) -> str:
    """Return SQL of the pseudonym of a column, by the key in use."""
    inner = f"unhex(sha256(getvariable('inner_key') || encode({user_id})))"
    return f"left(sha256(getvariable('outer_key') || {inner}), 32)"
