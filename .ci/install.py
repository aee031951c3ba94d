"""Install the pinned packages into the environment that runs this: by uv, or by pip where uv fails.

uv takes no notice of pip's configuration, so it gets every setting of pip that decides which builds are installed. On a
machine with a build of torch of its own uv would otherwise fetch another one.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

WANTED = ["--constraint", "constraints.txt", "--editable", ".[dev,bench]"]
PIP = [sys.executable, "-m", "pip"]
OPTIONS = {  # uv's options by pip's settings
    "cert": "--cert",
    "constraint": "--constraint",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "index-url": "--default-index",
    "no-binary": "--no-binary",
    "only-binary": "--only-binary",
    "trusted-host": "--allow-insecure-host",
}
SINGLE = {"cert", "index-url"}  # the others hold several values, separated by spaces
VARIABLES = {"default-timeout": "UV_HTTP_TIMEOUT", "timeout": "UV_HTTP_TIMEOUT", "proxy": "ALL_PROXY"}
PIP_ALONE = {"client-cert", "no-index", "pre", "require-hashes"}  # settings for which only pip is asked
SECTIONS = ("global", "install", ":env:")  # the later one wins


def main() -> None:
    try:
        run(*PIP, "install", "--quiet", "--constraint", "constraints.txt", "uv")
        settings = pip_settings(subprocess.check_output([*PIP, "config", "list"], text=True))
        variables = {VARIABLES[name]: value for name, value in settings.items() if name in VARIABLES}
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
        # or each start of Python would compile all that it imports
        compiled = ["--compile-bytecode"] if sys.dont_write_bytecode else []
        run(*uv, *compiled, *uv_options(settings), *WANTED, env=variables | os.environ)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"uv did not install the packages ({error}); pip installs them, which takes some minutes.", flush=True)
        run(*PIP, "install", "--quiet", *WANTED)


def run(*command: str, env: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=env)


def pip_settings(listed: str) -> dict[str, str]:
    """Values by name, from the output of `pip config list`; variables win over files, `install` over `global`."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in found:
            found[section][name] = ast.literal_eval(value)
    return {name: value for section in SECTIONS for name, value in found[section].items()}


def uv_options(settings: Mapping[str, str]) -> Iterator[str]:
    """The options that make uv choose what pip would choose; ValueError where there are none."""
    if beyond := sorted(PIP_ALONE & settings.keys()):
        raise ValueError(f"pip is configured with {', '.join(beyond)}")
    for name, option in OPTIONS.items():
        if name in settings:
            for value in [settings[name]] if name in SINGLE else settings[name].split():
                yield from (option, value)
    if "extra-index-url" in settings:
        yield from ("--index-strategy", "unsafe-best-match")  # pip takes the best version of all indexes


if __name__ == "__main__":
    main()
