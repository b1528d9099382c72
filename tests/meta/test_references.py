"""Tests that comments, docstrings and pages name only files that exist."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "client", "consumer", "deploy", "docs", "schema", "tests")
FILES = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in (".md", ".py", ".sql")]
NAME = re.compile(r"(?<![\w/.*{-])[\w/-]*\w\.(?:py|sql)\b")
PLACEHOLDERS = {"NNNN_name.sql", "rollback_NNNN_name.sql"}


def prose(file: Path) -> Iterator[str]:
    """Yield the comments and docstrings of a source, or the text of a page."""
    text = file.read_text("utf-8")
    if not NAME.search(text):  # most sources name no file, and reading them takes long
        return
    if file.suffix == ".py":
        yield from (
            token.string
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                yield ast.get_docstring(node) or ""
    else:
        yield from (line.partition("--")[2] if file.suffix == ".sql" else line for line in text.splitlines())


def test_every_file_that_is_named_exists() -> None:
    """A migration that was applied anywhere is never changed, so it may name files that have moved."""
    existing = {f"/{file.relative_to(ROOT)}" for file in FILES}
    missing = {
        (str(file.relative_to(ROOT)), name)
        for file in FILES
        if file.parent.name != "schema"
        for text in prose(file)
        for name in NAME.findall(text)
        if name not in PLACEHOLDERS and not any(path.endswith(f"/{name}") for path in existing)
    }
    assert missing == set()
