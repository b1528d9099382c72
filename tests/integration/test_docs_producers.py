"""Tests that the examples of docs/producers.md work: each event that they send becomes a row."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumer.devstack import jars
from tests.support.chart import ROOT
from tests.support.ingestion import counts, environment_on, ingest
from tests.support.service import Environment
from tests.support.stack import Servers

PAGE = (ROOT / "docs" / "producers.md").read_text("utf-8")
KINDS = ("dialogue", "feedback", "provenance")
INSTALL_S = 900


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics of the kinds that the examples send."""
    with environment_on(stack, migrated_template, kinds=KINDS) as made:
        yield made


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def python_examples() -> list[str]:
    """Return the Python blocks of the page."""
    return re.findall(r"^```python client\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_readme_begins_with_the_same_five_lines() -> None:
    """An empty line does not count."""
    readme = (ROOT / "client" / "README.md").read_text("utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert shown == python_examples()[0]
    assert len([line for line in shown.splitlines() if line]) <= 5


def test_the_python_of_the_page_runs(stack: Servers, environment: Environment, tmp_path: Path) -> None:
    """All blocks run in one application, from first to last."""
    topics = {kind: environment.topics[kind] for kind in KINDS}
    found = SimpleNamespace(uri="https://handbook.example/leave", title="Annual leave", score=0.87)
    application: dict[str, Any] = {
        "user_id": uuid4(),
        "session_id": uuid4(),
        "content_id": uuid4(),
        "query": "How many days?",
        "password": "secret",
        "generate": lambda _query: "Ten.",
        "search": lambda _query: [found],
    }
    ledgers = []
    for block in python_examples():
        code = re.sub(r'Ledger\(\s*"[\w.:]+"', f'Ledger("{stack.bootstrap_servers}", topics={topics!r}', block)
        exec(code, application)
        if application["ledger"] not in ledgers:
            ledgers.append(application["ledger"])
    for one in ledgers:
        one.close(30)
    assert [one.stats().delivered for one in ledgers] == [4, 0, 0, 0]
    ingest(environment, 4, tmp_path / "log")
    (row,) = environment.query("SELECT * FROM ai_dialogue_log WHERE citations IS NOT NULL")
    assert (row["id"], row["user_feedback"], row["prompt_tokens"]) == (UUID(application["answer"].id), 1, 1599)


# ── other languages ──────────────────────────────────────────────────────────────────────────────────────────────────


def recipe(file: str) -> str:
    """Return the program that the page shows under this name."""
    (found,) = re.findall(rf"^```\w+ recipe {re.escape(file)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def toolchain(*programs: str) -> None:
    """Skip the test if one of these programs is missing."""
    missing = [one for one in programs if shutil.which(one) is None]
    if missing:
        pytest.skip(f"this example needs {' and '.join(missing)} on this machine")


def install(directory: Path, *command: str) -> None:
    """Install the packages of a program, or skip the test with the error."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        pytest.skip(f"{' '.join(command)} fails on this machine: {errors[-1] if errors else ''}")


def node(directory: Path) -> list[str]:
    """Install the packages once beside Kafka's jars, because some machines have to compile them. Return the command."""
    toolchain("node", "npm")
    kept = jars.cache_directory() / "node"
    kept.mkdir(parents=True, exist_ok=True)
    packages = re.search(r"`npm install ([^`]+)`", PAGE)
    assert packages
    install(kept, "npm", "install", "--no-audit", "--no-fund", *packages[1].split())
    (directory / "node_modules").symlink_to(kept / "node_modules")
    return ["node", "answer.mjs"]


def go(directory: Path) -> list[str]:
    """Make a module for the program. Return the command."""
    toolchain("go")
    packages = re.search(r"`go\s+get ([^`]+)`", PAGE)
    assert packages
    install(directory, "go", "mod", "init", "example")
    install(directory, "go", "get", *packages[1].split())
    return ["go", "run", "."]


def java(_directory: Path) -> list[str]:
    """Return the command with the jars of the embedded Kafka, which include its client."""
    toolchain("java", "javac")
    return ["java", "-cp", ":".join(map(str, jars.cached_classpath() or ())), "Answer.java"]


def kcat(_directory: Path) -> list[str]:
    """Return the command, which runs in a shell."""
    toolchain("kcat")
    return ["sh", "-e", "answer.sh"]


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S + 300)
@pytest.mark.parametrize(
    ("file", "prepare"), [("answer.mjs", node), ("main.go", go), ("Answer.java", java), ("answer.sh", kcat)]
)
def test_each_program_of_the_page_sends_a_dialogue(
    stack: Servers, environment: Environment, tmp_path: Path, file: str, prepare: Callable[[Path], list[str]]
) -> None:
    """The dialogue has an id of version 7, and the session is the key."""
    directory = tmp_path / "program"
    directory.mkdir()
    (directory / file).write_text(recipe(file).replace("rag.dialogue", environment.topics["dialogue"]))
    command = prepare(directory)
    variables = os.environ | {"KAFKA": stack.bootstrap_servers}
    done = subprocess.run(
        command, cwd=directory, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ingest(environment, 1, tmp_path / "log")
    assert counts(environment) == {"inserted": 1, "duplicates": 0, "dead": 0}
    (row,) = environment.query("SELECT * FROM ai_dialogue_log")
    assert (row["id"].version, row["response"], row["latency_ms"]) == (7, "Ten.", 840)
