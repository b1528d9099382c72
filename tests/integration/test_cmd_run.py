"""Tests the command line as a whole, and the start and stop of `ragledger run`."""

import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from consumer.__main__ import app
from tests.support.ingestion import (
    Outgoing,
    as_json,
    committed_offsets,
    counts,
    dialogues,
    environment_on,
    ids,
    log_lines,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

COMMANDS = {
    "run",
    "demo",
    "stack",
    "migrate up",
    "migrate down",
    "migrate status",
    "migrate verify",
    "migrate plan",
    "publish",
    "rollup",
    "ledger",
    "ledger resume",
    "ledger decisions",
    "dead-letters list",
    "dead-letters show",
    "dead-letters replay",
    "dead-letters discard",
    "config show",
    "config check",
    "schema export",
}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with two partitions in each topic."""
    with environment_on(stack, migrated_template, partitions=2) as made:
        yield made


def commands(group: Any, path: str = "") -> Iterator[str]:
    """Return the full name of every command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield f"{path}{name}"


def test_every_command_has_a_help_text() -> None:
    """--help exits with 0 for commands and groups, and has a description besides the options."""
    found = set(commands(typer.main.get_command(app)))
    assert found >= COMMANDS
    for name in {"", *found, *(name.partition(" ")[0] for name in found)}:
        done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "100"})
        assert done.exit_code == 0, name
        assert "Usage:" in done.output
        if name in found:
            assert len(done.output.split("Usage:")[1].splitlines()[2].split()) >= 3, f"{name} has no description"


def test_the_package_runs_as_a_module_and_as_a_script() -> None:
    """`python -m consumer` and `ragledger` are equal; the help lists the exit codes."""
    script = Path(sys.executable).with_name("ragledger")
    for command in ([sys.executable, "-m", "consumer"], [str(script)]):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert "Exit codes" in done.stdout
    assert run(sys.executable, "-m", "consumer", "--version").stdout.startswith("ragledger ")
    assert run(sys.executable, "-m", "consumer", "frobnicate").returncode == 2


@pytest.mark.parametrize("arguments", [["frobnicate"], ["dead-letters", "frobnicate"], ["run", "--fast"], []])
def test_an_unknown_command_exits_with_2(arguments: list[str]) -> None:
    """An unknown command, an unknown subcommand, an unknown option, or none at all."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_with_exit_code_0(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, number: signal.Signals
) -> None:
    """It first writes and commits the open batch, which is not lost and not read again."""
    topic = environment.topics["dialogue"]
    records = dialogues(topic, 50, seed=1)
    # Without the signal they would wait for ten minutes.
    with ServiceProcess(environment, tmp_path / "log", RAGLEDGER_BATCH__MAX_DELAY_MS="600000") as service:
        service.wait_ready()
        send(bootstrap_servers, records.values())
        eventually(lambda: service.metric("rag_consumer_lag_records", topic=topic) == len(records))
        assert environment.accounted_for() == 0
        service.send(number)
        assert service.running.wait(30) == 0
    assert log_lines(tmp_path / "log", "stopped")
    assert ids(environment) == records.keys()
    assert sum(committed_offsets(bootstrap_servers, environment.group, topic, 2)) == len(records)
    with ServiceProcess(environment, tmp_path / "again"):
        environment.assert_caught_up()
    assert counts(environment) == {"inserted": len(records), "duplicates": 0, "dead": 0}


def test_a_port_in_use_is_reported(environment: Environment) -> None:
    """Exit code 1 and the port, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment.variables["RAGLEDGER_HTTP__PORT"] = str(port)
        done = environment.run("run")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_stops_the_start(environment: Environment) -> None:
    """Exit code 1 and the name of the setting, before anything is read."""
    environment.variables["RAGLEDGER_BATCH__MAX_ROWZ"] = "1"
    done = environment.run("run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "RAGLEDGER_BATCH__MAX_ROWZ" in done.stderr
    assert "RAGLEDGER_BATCH__MAX_ROWS" in done.stderr


def test_start_from_latest_skips_earlier_records(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """This applies only to partitions without a row in the ledger; the next start resumes at the ledger."""
    topic = environment.topics["dialogue"]
    chance = random.Random(2)

    def publish(count: int) -> None:
        events = [small_dialogue(chance) for _ in range(count)]
        send(bootstrap_servers, [Outgoing(topic, as_json(event), partition=n % 2) for n, event in enumerate(events)])

    latest = {"RAGLEDGER_KAFKA__START_FROM": "latest"}
    publish(10)
    with ServiceProcess(environment, tmp_path / "log", **latest) as service:
        service.wait_ready()
        eventually(lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 4)
        publish(6)
        wait_for_records(environment, 6)
        assert service.stop() == 0
    publish(4)
    with ServiceProcess(environment, tmp_path / "log", **latest):
        wait_for_records(environment, 10)
    assert counts(environment) == {"inserted": 10, "duplicates": 0, "dead": 0}
    assert environment.run("ledger", "--caught-up").returncode == 0


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70])
def test_an_address_that_cannot_be_resolved_names_its_settings(host: str) -> None:
    """The resolver's error names nothing."""
    failed = Environment("postgresql://127.0.0.1:9/d", "127.0.0.1:9", {}, RAGLEDGER_HTTP__HOST=host).run("run")
    assert failed.returncode == 1
    assert "cannot listen where RAGLEDGER_HTTP__HOST and RAGLEDGER_HTTP__PORT say: " in failed.stderr
