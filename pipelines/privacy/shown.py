"""Text that is safe to print and to store: URLs without secrets, control characters as visible escapes.

Addresses may contain user and password, or a token in the query. Tags, rules, notes and ids come from others, and a
terminal would obey an escape sequence in them.
"""

from __future__ import annotations

import re

HIDDEN = "***"
# a password may contain any unescaped character, so all up to the last @ counts; a port is not a password
_PASSWORD = re.compile(r"(?<=://)[^\s/?#:@]*:(?!\d{1,5}(?:[/?#]|\b))\S*@")
_USERINFO = re.compile(r"(?<=://)(?!git@)[^\s/?#]*@")  # the user `git` is not a secret
_QUERY = re.compile(r"([?&][\w.~%\[\]-]+=)[^\s&#\"'<>)|]+")
_SETTING = re.compile(r"(?i)\b(password|passwd|pwd|secret|token|api_?key)(=|: )(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)")
_HEADER = re.compile(r"(?i)\b(bearer [\w.~+/=-]{12,}|basic [a-z0-9+/]{16,}={0,2})")
_CREDENTIAL = re.compile(
    r"(?i)(?:.*[-_.])?(?:token|key|apikey|secret|password|passwd|pwd|sig|signature|auth|authorization|credential|jwt)"
)
_CONTROL = re.compile(  # C0, C1, direction marks and overrides, line separators, lone surrogates, tag characters
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def shown(text: str, *, lines: bool = False) -> str:
    """Return a text made `redacted` and `visible`; lines: keep its line ends."""
    return visible(redacted(text), lines=lines)


def markup(text: str) -> str:
    """Return the text of `shown` for rich, which reads brackets as styles."""
    from rich.markup import escape  # most commands do not need it

    return escape(shown(text))


def redacted(text: str) -> str:
    """Return a text without the users, passwords and query values of its addresses."""
    text = _USERINFO.sub(f"{HIDDEN}@", _PASSWORD.sub(f"{HIDDEN}@", text))
    text = _SETTING.sub(rf"\1\2{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", text))
    return _HEADER.sub(lambda match: f"{match[0].split()[0]} {HIDDEN}", text)


def visible(text: str, *, lines: bool = False) -> str:
    """Return a text with control characters, direction marks and lone surrogates as escapes."""
    text = _CONTROL.sub(escaped, text)
    return text if lines else text.replace("\n", "\\n")


def escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def credential(url: str) -> str | None:
    """Return the credential in an address, as a phrase such as "a value of token"; None if there is none."""
    if _PASSWORD.search(url) or _USERINFO.search(url):
        return "a user or password"
    for name, value in re.findall(r"[?&]([^=&#\s]+)=([^&#\s]*)", url):
        if _CREDENTIAL.fullmatch(name) and not re.fullmatch(r"\$\{\w+\}", value):
            return f"a value of {name}"
    return None
