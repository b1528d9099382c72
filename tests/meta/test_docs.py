"""Tests that the documentation names only existing commands, options, settings, metrics, links and events."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from typer.main import get_command

from consumer.__main__ import app
from consumer.decode.lanes import decode
from consumer.events import price_file
from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from consumer.events.registry import kinds_by_topic
from consumer.events.rejection import Reason, Rejected
from consumer.ingest import slo
from consumer.settings.loading import known_variables, load
from consumer.settings.model import Topics
from consumer.settings.sources import OUTSIDE
from consumer.telemetry.metrics import ALL
from tests.support.pages import DOCS, PAGES, ROOT, Block, arguments, blocks, prose, shell_lines

# The schema's README shows usage, with brackets and placeholders, not commands to paste.
WITH_COMMANDS = [page for page in PAGES if page.parent.name != "schema"]
KINDS = {kind.name: kind for kind in kinds_by_topic(Topics()).values()}
EVENTS = [ROOT / "README.md", DOCS / "events.md"]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def inline_code(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


# ── generated parts ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_generated_parts_are_current() -> None:
    """`python docs/generate.py` would change nothing."""
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_changelog_has_this_version() -> None:
    """It has a section for unreleased changes, or for the version of the project."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    sections = re.findall(r"^## \[([^]]+)]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert {"Unreleased", version} & set(sections)


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_every_relative_link_has_a_target(page: Path) -> None:
    """The file exists, and so does the heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    """The index links to each page of the documentation."""
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)\)", prose(DOCS / "index.md"))}
    assert {page for page in PAGES if page != DOCS / "index.md"} - linked == set()


def test_the_index_lists_each_page_once() -> None:
    """One row for each page and each decision."""
    rows = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", prose(DOCS / "index.md"), re.MULTILINE)
    assert rows
    assert [row for row, times in Counter(rows).items() if times > 1] == []


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def command_lines() -> list[str]:
    """Return the lines of shell blocks that run ragledger."""
    return [line for page in WITH_COMMANDS for line in shell_lines(page) if arguments(line) is not None]


def user_ids() -> list[str]:
    """Return the words of inline code that name a command."""
    return sorted({code for page in WITH_COMMANDS for code in inline_code(page) if code.startswith("ragledger ")})


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words name, and the remaining words."""
    command: Any = get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_the_pages_contain_commands() -> None:
    """Without this, the tests below could pass without a command."""
    assert len(command_lines()) > 10
    assert len(user_ids()) > 10


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_is_valid(line: str) -> None:
    """It can be parsed, with its options, their values, and all required arguments."""
    words = arguments(line)
    assert words
    if words == ["--help"]:
        return
    command, rest = find_command(words)
    command.make_context("ragledger", list(rest))


@pytest.mark.parametrize("mention", user_ids())
def test_every_command_that_is_mentioned_exists(mention: str) -> None:
    """The command and each of its options exist."""
    command, rest = find_command(mention.split()[1:])
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} - options == set()


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@EVERY_PAGE
def test_every_metric_that_is_named_exists(page: Path) -> None:
    """The name is a metric, or a series of a histogram."""
    series = {f"{metric.name}{part}" for metric in ALL for part in ("", "_bucket", "_sum", "_count")}
    named = set(re.findall(r"\brag_[a-z_]+", page.read_text("utf-8")))
    assert named - series - {"rag_metrics_history"} == set()


@EVERY_PAGE
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """The only exception is the example of an unknown name."""
    lines = [line for line in page.read_text("utf-8").splitlines() if "there is no such setting" not in line]
    named = set(re.findall(r"RAGLEDGER_[A-Z0-9_]+", "\n".join(lines)))
    assert named - known_variables().keys() - OUTSIDE == set()


def test_the_defaults_of_the_readme_are_the_defaults() -> None:
    """Each line of its table of settings is compared."""
    rows = re.findall(r"^\| `(RAGLEDGER_\w+)` \| (\S+) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    generated = (DOCS / "configuration.md").read_text("utf-8")
    assert len(rows) > 5
    assert [row for row in rows if f"| `{row[0]}` | {row[1]} |" not in generated] == []


def test_every_log_line_is_explained() -> None:
    """The table has exactly the log lines of the service."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "consumer").rglob("*.py"))
    said = set(re.findall(r"\b_?log\.(?:debug|info|warning|error)\(\s*\"(\w+)\"", sources))
    section = (DOCS / "operations.md").read_text("utf-8").split("\n## Log lines\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \| (?:debug|info|warning|error) \|", section, re.MULTILINE)) == said


def test_every_reason_is_explained() -> None:
    """The table of reasons has each of them."""
    rows = re.findall(r"^\| `(\w+)` \|", prose(DOCS / "events.md"), re.MULTILINE)
    assert set(rows) >= {reason.value for reason in Reason}


# ── examples of settings ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_objectives_shown_are_the_built_in_ones(tmp_path: Path) -> None:
    """They are in the example and in the commented file, and apply without a file."""
    (example,) = [block for block in blocks(DOCS / "configuration.md") if block.info == ["yaml", "objectives"]]
    file = tmp_path / "slo.yml"
    file.write_text(example.content)
    assert tuple(slo.load(file)) == tuple(slo.DEFAULT_OBJECTIVES)
    assert tuple(slo.load(ROOT / "deploy" / "slo.yml")) == tuple(slo.DEFAULT_OBJECTIVES)


def test_the_prices_shown_are_right(tmp_path: Path) -> None:
    """The example is a valid price file, with the models of the starter file."""
    (example,) = [block for block in blocks(DOCS / "costs.md") if block.info == ["yaml", "prices"]]
    file = tmp_path / "prices.yml"
    file.write_text(example.content)
    shown, starter = price_file.load(file), price_file.load(ROOT / "deploy" / "prices.yml")
    assert shown.rates == starter.rates
    assert set(shown.models) <= set(starter.models)


def test_the_secrets_shown_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of the example gives the settings that it holds."""
    shown = [block for block in blocks(DOCS / "configuration.md") if block.info[-1].startswith("secrets/")]
    for block in shown:
        (tmp_path / Path(block.info[-1]).name).write_text(block.content)
    monkeypatch.setenv("RAGLEDGER_SECRETS_DIR", str(tmp_path))
    settings = load()
    assert settings.postgres.dsn.get_secret_value().endswith("?sslmode=verify-full&sslrootcert=system")
    assert settings.kafka.sasl_password
    assert settings.kafka.sasl_password.get_secret_value() == "secret"


RECIPES = [
    block.content
    for page in ("recipes.md", "credentials.md")
    for block in blocks(DOCS / page)
    if "recipe" in block.info
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_read(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read as an env file: each value is unchanged, and the named files and programs exist."""
    for name in re.findall(r"=/etc/ragledger/(\S+)", recipe):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in re.findall(r"_COMMAND=(\S+)", recipe):
        (tmp_path / Path(program).name).touch(0o700)
    recipe = recipe.replace("/opt/token/bin", str(tmp_path))
    file = tmp_path / "ragledger.env"
    file.write_text(recipe.replace("/etc/ragledger", str(tmp_path)))
    monkeypatch.setenv("RAGLEDGER_ENV_FILE", str(file))
    settings = load()
    for name, value in (line.split("=", 1) for line in file.read_text().splitlines()):
        group, member = name.removeprefix("RAGLEDGER_").lower().split("__")
        read = getattr(getattr(settings, group), member)
        assert str(read.get_secret_value() if isinstance(read, SecretStr) else read).lower() in (
            value.lower(),
            f"{value}.0",
        )


def test_there_are_recipes() -> None:
    """There are some for Kafka and some for PostgreSQL."""
    assert len(RECIPES) >= 6


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Example(NamedTuple):
    """A record in the documentation, and the reason of its rejection; None if it becomes a row."""

    kind: Kind
    reason: str | None
    record: StoredRecord


def example(block: Block) -> Example:
    """Return the example of a block: the words after the fence are the language, the kind and the reason."""
    _, kind, *reason = block.info
    head, separator, value = block.content.partition("\n\n") if block.info[0] == "text" else ("", "", block.content)
    pairs = [line.split(": ", 1) for line in head.splitlines()] if separator else []
    headers = tuple((name, text.encode()) for name, text in pairs)
    record = StoredRecord(f"rag.{kind}", 0, 0, 1_700_000_000_000, None, (value or head).encode(), headers)
    return Example(KINDS[kind], reason[0] if reason else None, record)


def examples() -> list[Example]:
    found = [block for page in EVENTS for block in blocks(page) if len(block.info) > 1 and block.info[1] in KINDS]
    return [example(block) for block in found]


@pytest.mark.parametrize("shown", examples())
def test_every_event_has_the_stated_result(shown: Example) -> None:
    """It becomes a row without unknown fields, or is rejected for the stated reason."""
    if shown.reason is None:
        assert decode(shown.kind, shown.record).unknown_fields == 0
        return
    with pytest.raises(Rejected) as refused:
        decode(shown.kind, shown.record)
    assert refused.value.reason == shown.reason


def test_every_kind_that_becomes_a_row_has_an_example_in_the_readme() -> None:
    """There is one event of each, to start with. The page on events has all kinds."""
    shown = [example(block) for block in blocks(ROOT / "README.md") if block.info[:1] == ["json"]]
    assert {one.kind for one in shown} == {kind for kind in KINDS.values() if not kind.amends}
    assert {one.kind for one in examples()} == set(KINDS.values())


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((DOCS / "events" / f"{kind}.schema.json").read_text("utf-8"))
    return schema


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_schema_accepts_the_examples_and_rejects_faulty_ones(kind: str) -> None:
    """It accepts the examples, and rejects them without a required field or with a number that is too large."""
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema)
    accepts = Draft202012Validator(schema).is_valid
    plain = [one for one in examples() if one.kind.name == kind and not one.reason and not one.record.headers]
    assert plain
    for event in [json.loads(one.record.value or b"") for one in plain]:
        assert accepts(event)
        for required in schema["required"]:
            assert not accepts({name: member for name, member in event.items() if name != required})
        for name in {"latency_ms", "retention_years"} & schema["properties"].keys():
            assert not accepts(event | {name: 2**31})


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else ())
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from references(member)


def resolve(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_the_asyncapi_document_is_consistent() -> None:
    """Every reference can be resolved, every topic has a channel, and the payloads are the schemas."""
    document = json.loads((DOCS / "events" / "asyncapi.json").read_text("utf-8"))
    assert document["asyncapi"].startswith("3.")
    assert all(resolve(document, reference) for reference in references(document))
    assert {channel["address"] for channel in document["channels"].values()} == set(Topics().named.values())
    for kind, message in document["components"]["messages"].items():
        assert message["payload"] == schema_of(kind)


# ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_promql_expression_is_valid(tmp_path: Path) -> None:
    """promtool accepts each as the expression of an alert."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    expressions = [block.content for page in PAGES for block in blocks(page) if block.info == ["promql"]]
    rules = [{"alert": f"Number{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    assert expressions
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_migration_has_one_row() -> None:
    """The table of schema/README.md names the files in the order in which they run."""
    listed = re.findall(r"^\| `(\d{4}_\w+\.sql)`", (ROOT / "schema" / "README.md").read_text(), re.MULTILINE)
    assert listed == sorted(file.name for file in (ROOT / "schema").glob("[0-9]*.sql"))
