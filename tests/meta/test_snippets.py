"""Tests that every snippet of the documentation is run or checked. A new snippet is tested by default.

:data:`TESTED` names the test of each kind of block, and :data:`NOT_RUN` gives the reason for each block or command that
no test runs.
"""

import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.settings.loading import known_variables, load
from consumer.settings.sources import SettingsError
from tests.support.pages import PAGES, ROOT, Block, arguments, blocks, every_block, shell_lines
from tests.support.prometheus import ALERTS, promtool

EVENTS = "test_docs.test_every_event_has_the_stated_result"
PRODUCERS = "test_docs_producers"
# By the words after the fence; the first ones are enough.
TESTED: Mapping[tuple[str, ...], str] = {
    ("sql",): "test_docs_sql",
    ("promql",): "test_docs.test_every_promql_expression_is_valid",
    ("sh", "recipe"): PRODUCERS,
    ("sh",): "the tests of commands below",
    ("console",): "test_the_output_of_a_command_is_shown",
    ("yaml", "objectives"): "test_docs.test_the_objectives_shown_are_the_built_in_ones",
    ("yaml", "prices"): "test_docs.test_the_prices_shown_are_right",
    ("yaml", "values"): "test_the_values_of_the_chart_are_valid",
    ("yaml", "prometheus"): "test_prometheus_accepts_its_configuration",
    ("yaml", "alertmanager"): "test_the_routes_name_existing_alerts",
    ("yaml", "collector"): "test_the_collector_writes_the_topics_that_are_read",
    ("ini", "recipe"): "test_docs.test_every_recipe_can_be_read",
    ("python", "client"): PRODUCERS,
    ("js", "recipe"): PRODUCERS,
    ("go", "recipe"): PRODUCERS,
    ("java", "recipe"): PRODUCERS,
    ("json",): "test_json_can_be_parsed",
    **{("json", kind): EVENTS for kind in ("dialogue", "provenance", "feedback", "verification", "plugin")},
    **{("text", kind): EVENTS for kind in ("dialogue", "provenance")},
    ("text", "errors"): "test_wrong_settings_have_the_errors_shown",
    ("text", "secrets"): "test_docs.test_the_secrets_shown_are_read",
}
# By page and language, or by the program of a command line.
NOT_RUN: Mapping[str, str] = {
    "README.md text": "the output of the demo, and a drawing",
    "docs/architecture.md text": "a drawing, and the plan of a query",
    "docs/compliance.md text": "a formula, and a notice whose values differ",
    "docs/operations.md text": "a session of psql with the file of an archive",
    "docs/producers.md text": "a line of the log of an application",
    "docs/scaling.md text": "needs Citus",
    "docs/credentials.md text": "the template of another program",
    "client/README.md python": "test_docs_producers runs the same lines",
    "docs/credentials.md dockerfile": "needs a container engine and the image of a cloud's tool",
    "docs/producers.md python": "needs Celery",
    "schema/README.md": "usage with placeholders, not commands to paste",
    **dict.fromkeys(("docker", "kubectl", "helm"), "needs containers or a cluster; test_chart renders the chart"),
    **dict.fromkeys(("gh", "git", "pip", "/opt/ragledger/bin/pip"), "needs a release"),
    **dict.fromkeys(("go", "python3"), "installs a program, which setup and the tests of the chart use"),
    **dict.fromkeys(("kafka-transactions.sh", "kafka-topics.sh", "kafka-acls.sh"), "Kafka's own tools"),
    **dict.fromkeys(("install", "systemctl", "journalctl"), "needs systemd; test_releases checks the unit"),
    **dict.fromkeys(("psql", "duckdb", "promtool", "sha256sum", "sed", "cat", "cd"), "programs of others"),
    **dict.fromkeys(("for", "done", "printf", "END"), "the shell's own words"),
    ".venv/bin/hatchling": "test_wheel builds the wheel",
}
COMMANDS = [(page, line) for page in PAGES for line in shell_lines(page) if page.parent.name != "schema"]


def is_named(block: Block) -> bool:
    """Whether a test or a reason names the block."""
    words = block.info[:1] + [word.split("/")[0] for word in block.info[1:]]
    named = any(tuple(words[:count]) in TESTED for count in range(1, len(words) + 1))
    return named or f"{block.page} {block.language}".strip() in NOT_RUN


@pytest.mark.parametrize("block", every_block(), ids=lambda block: f"{block.page}-{'-'.join(block.info)}")
def test_every_block_is_tested_or_has_a_reason(block: Block) -> None:
    """A new kind of block needs a test, or a reason why no test runs it."""
    assert is_named(block)


def test_each_reason_is_still_needed() -> None:
    """Each names something that the pages show."""
    shown = {f"{block.page} {block.language}".strip() for block in every_block()}
    shown |= {program_of(line) for _, line in COMMANDS}
    assert NOT_RUN.keys() - shown == set()


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def words_of(line: str) -> list[str]:
    """Return the words of a command line. A secret that it makes or quotes has a value."""
    line = line.replace("$(openssl rand -hex 32)", "0" * 64).replace("$RAGLEDGER_ERASURE__KEY", "1" * 64)
    return shlex.split(line, comments=True)


def program_of(line: str) -> str:
    """Return the program of a command line, or an empty text if the line only sets variables."""
    words = [word for word in words_of(line) if word != "export" and not re.match(r"[A-Z_]+=", word)]
    return words[0] if words else ""


def is_target(line: str) -> bool:
    """Whether a line runs targets of the Makefile, which exist."""
    _, *targets = [word for word in words_of(line) if "=" not in word]
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    return bool(targets) and set(targets) <= set(known)


def is_module(line: str) -> bool:
    """Whether a line runs a module of the repository."""
    _, option, module, *_ = words_of(line)
    return option == "-m" and importlib.util.find_spec(module) is not None


CHECKS: Mapping[str, Callable[[str], bool]] = {"make": is_target, ".venv/bin/python": is_module}


@pytest.mark.parametrize("line", [line for _, line in COMMANDS])
def test_every_command_is_checked_or_has_a_reason(line: str) -> None:
    """test_docs checks the commands of ragledger, and the tests below the settings."""
    program = program_of(line)
    if program in CHECKS:
        assert CHECKS[program](line)
    elif program and arguments(line) is None:
        assert program in NOT_RUN


@pytest.mark.parametrize("line", [line for _, line in COMMANDS])
def test_every_file_of_the_repository_that_a_command_names_exists(line: str) -> None:
    """It may be a pattern."""
    for path in re.findall(r"(?<![\w/.:|])(?:deploy|schema|docs|tests|bench)/[\w./*-]+", line):
        assert list(ROOT.glob(path.rstrip("."))), path


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def assignments(block: Block) -> dict[str, str]:
    """Return the settings that a shell block assigns, in its environment or in an env file that it writes."""
    pairs = [word.partition("=")[::2] for line in block.lines for word in words_of(line) if "=" in word]
    return {name: value for name, value in pairs if name in known_variables()}


SETTING_BLOCKS = [block for block in every_block() if block.info == ["sh"] and assignments(block)]


def test_there_are_settings_in_commands() -> None:
    """Without this, the test below could pass without one."""
    assert len(SETTING_BLOCKS) > 8


@pytest.mark.parametrize("block", SETTING_BLOCKS, ids=lambda block: block.page)
def test_every_setting_in_a_command_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings load with its values. The files that it names exist."""
    monkeypatch.chdir(tmp_path)
    for name in ("ca.pem", "prices.yml", "slo.yml"):
        (tmp_path / name).touch()
    for name, value in assignments(block).items():
        monkeypatch.setenv(name, value.replace("/etc/ragledger", str(tmp_path)))
    load()


# ── YAML and JSON ────────────────────────────────────────────────────────────────────────────────────────────────────


def yaml_blocks(about: str) -> list[Any]:
    """Return the content of the YAML blocks about something."""
    found = [yaml.safe_load(block.content) for block in every_block() if block.info == ["yaml", about]]
    assert found
    return found


def test_the_values_of_the_chart_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart's schema accepts them, and the service the settings among them."""
    schema = json.loads((ROOT / "deploy" / "helm" / "ragledger" / "values.schema.json").read_text("utf-8"))
    for values in yaml_blocks("values"):
        Draft202012Validator(schema).validate(values)
        for group, settings in values.get("settings", {}).items():
            for name, value in settings.items():
                monkeypatch.setenv(f"RAGLEDGER_{group}__{name}".upper(), str(value))
    load()


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """promtool checks it, with the rules of the repository."""
    (tmp_path / "rules").symlink_to(ROOT / "deploy" / "prometheus" / "rules")
    for number, configuration in enumerate(yaml_blocks("prometheus")):
        file = tmp_path / f"{number}.yml"
        file.write_text(yaml.safe_dump(configuration))
        assert "SUCCESS" in promtool("check", "config", file)


def test_the_routes_name_existing_alerts() -> None:
    """Each alert that a matcher names exists, and so does each label."""
    names = {rule["alert"] for rule in ALERTS}
    labels = {"alertname", *(label for rule in ALERTS for label in rule.get("labels", {}))}
    for configuration in yaml_blocks("alertmanager"):
        text = json.dumps(configuration)
        assert set(re.findall(r"Ragledger[A-Z]\w+", text)) <= names
        assert set(re.findall(r'"(\w+)=~?\\"', text)) <= labels


def test_the_collector_writes_the_topics_that_are_read() -> None:
    """Its topics are the ones that the page gives ragledger; each pipeline names declared parts."""
    (shown,) = [block for block in SETTING_BLOCKS if block.page == "docs/opentelemetry.md"]
    for configuration in yaml_blocks("collector"):
        producer = configuration["exporters"]["kafka"]
        assert {producer[signal]["topic"] for signal in ("traces", "logs")} == set(assignments(shown).values())
        for pipeline in configuration["service"]["pipelines"].values():
            for part, names in pipeline.items():
                assert set(names) <= configuration[part].keys()


@pytest.mark.parametrize(
    "block", [block for block in every_block() if block.info == ["json"]], ids=lambda block: block.page
)
def test_json_can_be_parsed(block: Block) -> None:
    """It is one JSON object."""
    assert isinstance(json.loads(block.content), dict)


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_settings_have_the_errors_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line begins with the wrong variable, and its value if that is wrong."""
    (block,) = [block for block in every_block() if block.info == ["text", "errors"]]
    for line in block.lines:
        shown = line.removeprefix("ragledger: ")
        name, value = re.findall(r"^(\w+)(?:='(.*?)')?", shown)[0]
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SettingsError) as error:
                load()
        assert str(error.value) == shown


CONSOLES = [block for block in every_block() if block.language == "console"]


@pytest.mark.parametrize("block", CONSOLES, ids=lambda block: block.content.split()[2])
def test_the_output_of_a_command_is_shown(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs with the settings of the page's shell blocks, and a file of 20 dialogues with a mistake in the third."""
    monkeypatch.chdir(tmp_path)
    for other in blocks(ROOT / block.page):
        for name, value in assignments(other).items() if other.info == ["sh"] else ():
            monkeypatch.setenv(name, value)
    (dialogue,) = [json.loads(one.content) for one in blocks(ROOT / "README.md") if one.info == ["json", "dialogue"]]
    lines = [dialogue | ({"latency_ms": -1} if number == 3 else {}) for number in range(1, 21)]
    (tmp_path / "dialogues.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command, *output = block.content.splitlines()
    words = arguments(command.removeprefix("$ "))
    assert words
    assert CliRunner().invoke(app, words).output.splitlines() == output
