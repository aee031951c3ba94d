"""The page for operators, pasted in order into one bash in a fresh checkout, with a real Airflow and real servers."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.bentos.smoke import free_port
from tests.clones import Clone
from tests.conftest import REPO
from tests.docs.blocks import fenced
from tests.docs.test_commands import AUTHOR

pytestmark = pytest.mark.slow

PAGE = REPO / "docs/operator.md"
PORTS = ("8080", "3000", "3001")
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
DONE = "[pasted]"
SERVES = {  # by step of the page: the version that serves after it
    "1": "v1.0.0",
    "2": "v1.0.0",
    "3": "v1.0.0",
    "4": "v2.0.0",
    "5": "v3.0.0",
    "6": "v2.0.0",
    "7": "v2.0.0",
    "8": "v2.0.0",
}


class Terminal:
    """One bash, into which blocks are pasted; a command that fails ends it."""

    def __init__(self, clone: Clone, ports: dict[str, str], log: Path) -> None:
        self.ports, self.log = ports, log.open("w", encoding="utf-8")
        self.bash = subprocess.Popen(
            ["bash", "-eo", "pipefail", "-s"],
            cwd=clone.root,
            env={**clone.env, **AUTHOR},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def paste(self, block: str) -> str:
        """Return what a block prints; all its commands must succeed."""
        for shown, free in self.ports.items():
            block = re.sub(rf"\b{shown}\b", free, block)
        block = block.replace("airflow up", f"airflow up --port {self.ports['8080']}")
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        self.note(re.sub("^", "> ", block, flags=re.MULTILINE) + "\n")
        self.bash.stdin.write(f"{block}\necho; echo '{DONE}'\n")
        self.bash.stdin.flush()
        printed: list[str] = []
        for line in self.bash.stdout:
            if line == f"{DONE}\n":
                return "".join(printed)
            self.note(line)
            printed.append(line)
        raise AssertionError(f"a command of this block failed:\n{block}\n{''.join(printed)}")

    def note(self, text: str) -> None:
        self.log.write(text)
        self.log.flush()

    def close(self) -> None:
        self.bash.kill()
        self.bash.wait()
        self.log.close()


def steps() -> dict[str, list[str]]:
    """Blocks to paste, by the number of their step; "" for those before the first."""
    _, *parts = re.split(r"^## (?:(\d+)\. )?.*\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for number, text in zip(parts[::2], parts[1::2], strict=True):
        for block in fenced(text):
            assert block.language == "bash"
            if not NOT_RUN.fullmatch(block.above):
                found.setdefault(number or "", []).append(block.text)
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    clone = Clone(tmp_path / "longtail")
    yield clone
    clone.run("longtail", "airflow", "down")
    for process in left(clone):
        process.kill()


def left(clone: Clone) -> list[psutil.Process]:
    """Processes that the story has started, and that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == clone.env["HOME"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_every_step_of_the_page_leads_where_it_says(clone: Clone, tmp_path: Path) -> None:
    ports = {shown: str(free_port()) for shown in PORTS}
    settings = clone.root / "params.yaml"
    settings.write_text(settings.read_text("utf-8").replace("port: 3000", f"port: {ports['3000']}"), "utf-8")
    clone.git("add", "params.yaml")
    clone.commit("a port that is free")
    log = Path(os.environ.get("LONGTAIL_PASTED", tmp_path / "pasted-commands.log"))
    terminal = Terminal(clone, ports, log)
    printed: dict[str, str] = {}
    try:
        for step, shown in steps().items():
            printed[step] = "".join(map(terminal.paste, shown))
            if step:
                assert clone.longtail("status").splitlines()[0].split()[1] == SERVES[step], step
    finally:
        terminal.close()
    assert printed.keys() == {"", *SERVES}

    assert "PROMOTE: " in printed["1"]
    assert "v1.0.0 serves now, as the first version.\n\nfirst training" in printed["1"]
    models = {step: re.findall(r'"model": ?"([\w:]+)"', text) for step, text in printed.items()}
    assert len(set(models["2"] + models["3"])) == 1
    assert "approved by admin: better for every taste" in printed["5"]
    assert "trained by the run larger" in printed["5"]
    assert "rollback from v3.0.0 to v2.0.0, by admin: complaints about the start page" in printed["6"]
    assert models["6"][-1:] == models["7"][-1:] != models["3"][-1:]
    assert (tmp_path / "second/.longtail/releases/v2.0.0/longtail.tar").is_file()  # which came from the remote
    assert (tmp_path / "feedback.sqlite").stat().st_size > 0

    end = time.monotonic() + 60
    while (running := left(clone)) and time.monotonic() < end:
        time.sleep(0.5)
    assert [process.cmdline() for process in running] == []
