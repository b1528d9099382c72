"""The pages of the documentation, and the snippets in them."""

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("schema/*.md"),
        *ROOT.glob("client/*.md"),
        *ROOT.glob("deploy/helm/**/*.md"),
    ]
)
_FENCED = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: the words after the fence, its content, and its page, as a path in the repository."""

    info: list[str]
    content: str
    page: str

    @property
    def language(self) -> str:
        """The first word after the fence; empty if there is none."""
        return self.info[0] if self.info else ""

    @property
    def lines(self) -> list[str]:
        """The lines, each continued line as one."""
        return re.sub(r"\\\n\s*", " ", self.content).splitlines()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, those in lists too."""
    name = page.relative_to(ROOT).as_posix()
    found = _FENCED.findall(page.read_text("utf-8"))
    return [Block(info.split(), dedent(content), name) for _, info, content in found]


def every_block() -> list[Block]:
    """Return the fenced blocks of all pages."""
    return [block for page in PAGES for block in blocks(page)]


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return _FENCED.sub("", page.read_text("utf-8"))


def shell_lines(page: Path) -> list[str]:
    """Return the commands of the shell blocks of a page."""
    shells = [block for block in blocks(page) if block.info in (["sh"], ["console"])]
    return [
        line.removeprefix("$ ")
        for block in shells
        for line in block.lines
        if line.strip() and (block.language == "sh" or line.startswith("$ "))
    ]


def arguments(line: str) -> list[str] | None:
    """Return the arguments of `ragledger` in a command line; None if it does not run it."""
    for command in re.split(r" (?:\||&&) ", line):
        tokens = shlex.split(command, comments=True)
        while tokens and re.fullmatch(r"[A-Z_]+=.*", tokens[0]):
            tokens.pop(0)
        if tokens[:2] == ["docker", "run"]:
            tokens = tokens[tokens.index("ragledger") :]
        if "exec" in tokens and "--" in tokens:  # of kubectl
            tokens = tokens[tokens.index("--") + 1 :]
        if tokens and tokens[0].split("/")[-1] == "ragledger":
            return tokens[1 : tokens.index(">") if ">" in tokens else None]
    return None
