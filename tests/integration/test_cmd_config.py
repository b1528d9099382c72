"""Tests the sources of settings, their display, and that a wrong setting stops the start."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import program

pytestmark = pytest.mark.timeout(60)

SECRET = "geheim"
DSN = f"postgresql://writer:{SECRET}@db.example:5432/ragledger"


def config(command: str, variables: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ragledger config` with only these variables."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAGLEDGER_")}
    return program.run("consumer", "config", command, *arguments, environment=ours | dict(variables))


def refused(variables: Mapping[str, str]) -> str:
    """Return the message of `config check` for wrong settings; it never contains a secret."""
    done = config("check", variables)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr
    return done.stderr


def test_show_hides_secrets_and_shows_the_other_settings(tmp_path: Path) -> None:
    """Tables and JSON show settings and defaults, but no password."""
    variables = {
        "RAGLEDGER_POSTGRES__DSN": DSN,
        "RAGLEDGER_KAFKA__SASL_USERNAME": "reader",
        "RAGLEDGER_KAFKA__SASL_PASSWORD": SECRET,
        "RAGLEDGER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "RAGLEDGER_KAFKA__GROUP_ID": "my-group",
    }
    for arguments in ([], ["--json"]):
        done = config("show", variables, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert SECRET not in done.stdout
        assert "my-group" in done.stdout
        assert "RAGLEDGER_POSTGRES__DSN" in done.stdout
        for name, default in {
            "HTTP__PORT": "9108",
            "ROLLUP__INTERVAL_S": "60",
            "TOPICS__DIALOGUE": "rag.dialogue",
        }.items():
            assert f"RAGLEDGER_{name}" in done.stdout
            assert default in done.stdout.replace(",", "")
    assert config("check", variables).returncode == 0


def test_an_unknown_variable_stops_the_start_with_a_suggestion() -> None:
    """Each misspelt name is reported with the likely correct name; `run` does not start either."""
    said = refused({"RAGLEDGER_KAFKA__GROUPID": "x", "RAGLEDGER_BATCH__MAX_ROW": "1"})
    assert "RAGLEDGER_KAFKA__GROUPID" in said
    assert "RAGLEDGER_KAFKA__GROUP_ID?" in said
    assert "RAGLEDGER_BATCH__MAX_ROW:" in said
    assert "RAGLEDGER_BATCH__MAX_ROWS?" in said


def test_every_wrong_value_is_named_with_what_is_allowed() -> None:
    """All are reported at once, each on its own line: the variable, its value, and the allowed values."""
    said = refused(
        {
            "RAGLEDGER_BATCH__MAX_ROWS": "many",
            "RAGLEDGER_HTTP__PORT": "99999",
            "RAGLEDGER_ROLLUP__TIMEZONE": "Mars/Olympus",
            "RAGLEDGER_LOG__LEVEL": "LOUD",
            "RAGLEDGER_POSTGRES__POOL_SIZE": "1",
            "RAGLEDGER_POSTGRES__DSN": f"mysql://u:{SECRET}@h/db",
        }
    )
    lines = {name: line for line in said.splitlines() for name in line.removeprefix("ragledger: ").split("=")[:1]}
    for name, words in {
        "BATCH__MAX_ROWS": ["many", "integer"],
        "HTTP__PORT": ["99999", "65535"],
        "ROLLUP__TIMEZONE": ["Mars/Olympus", "Asia/Tokyo"],
        "LOG__LEVEL": ["LOUD", "INFO", "WARNING"],
        "POSTGRES__POOL_SIZE": ["1", "3"],
        "POSTGRES__DSN": ["postgresql://"],
    }.items():
        assert all(word in lines[f"RAGLEDGER_{name}"] for word in words), said


def test_contradicting_settings_are_named_without_secrets() -> None:
    """With SASL but without a user, the message names the missing setting and not the password."""
    said = refused({"RAGLEDGER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "RAGLEDGER_KAFKA__SASL_PASSWORD": SECRET})
    assert "SASL" in said
    assert "sasl_username" in said.lower()
    same = refused({"RAGLEDGER_TOPICS__DIALOGUE": "one", "RAGLEDGER_TOPICS__PROVENANCE": "one"})
    assert "TOPICS" in same


def test_an_env_file_gives_settings_and_the_environment_wins(tmp_path: Path) -> None:
    """The file may contain comments, quotes and variables of other programs; an unknown variable of ours stops
    the start.
    """
    file = tmp_path / ".env"
    file.write_text(
        f"# ours\nRAGLEDGER_KAFKA__GROUP_ID=from-file\nRAGLEDGER_POSTGRES__DSN='{DSN}'\n"
        "export RAGLEDGER_HTTP__PORT=1234\n"
    )
    variables = {"RAGLEDGER_ENV_FILE": str(file), "RAGLEDGER_HTTP__PORT": "4321"}
    shown = config("show", variables, "--json")
    assert '"RAGLEDGER_KAFKA__GROUP_ID": "from-file"' in shown.stdout, shown.stderr
    assert '"RAGLEDGER_HTTP__PORT": 4321' in shown.stdout
    file.write_text(f"RAGLEDGER_KAFKA__GROUPID=x\nRAGLEDGER_KAFKAS__GROUP_ID=x\nRAGLEDGER_POSTGRES__PASSWD={SECRET}\n")
    said = refused(variables)
    assert "RAGLEDGER_KAFKA__GROUPID" in said
    assert "RAGLEDGER_KAFKA__GROUP_ID" in said, "no suggestion"
    assert "RAGLEDGER_KAFKAS__GROUP_ID" in said
    assert "RAGLEDGER_RAGLEDGER" not in said


def test_variables_of_other_programs_in_an_env_file_are_ignored(tmp_path: Path) -> None:
    """One .env file for the whole compose project is usual."""
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=x\nCOMPOSE_PROJECT_NAME=y\nRAGLEDGER_KAFKA__GROUP_ID=from-file\n")
    shown = config("show", {"RAGLEDGER_ENV_FILE": str(file)}, "--json")
    assert '"RAGLEDGER_KAFKA__GROUP_ID": "from-file"' in shown.stdout, shown.stderr


def test_a_missing_env_file_or_secrets_directory_stops_the_start(tmp_path: Path) -> None:
    """With the defaults, the service could read other brokers into another database."""
    assert str(tmp_path / "no.env") in refused({"RAGLEDGER_ENV_FILE": str(tmp_path / "no.env")})
    assert str(tmp_path / "none") in refused({"RAGLEDGER_SECRETS_DIR": str(tmp_path / "none")})


def test_a_secrets_directory_has_a_file_for_each_setting(tmp_path: Path) -> None:
    """Docker and Kubernetes mount them so: a file has the name of the variable, and its content is the value."""
    (tmp_path / "RAGLEDGER_POSTGRES__DSN").write_text(f"{DSN}\n")
    (tmp_path / "ragledger_kafka__group_id").write_text("from-secrets\n")
    variables = {"RAGLEDGER_SECRETS_DIR": str(tmp_path)}
    shown = config("show", variables, "--json")
    assert '"RAGLEDGER_KAFKA__GROUP_ID": "from-secrets"' in shown.stdout, shown.stdout + shown.stderr
    (tmp_path / "RAGLEDGER_POSTGRES__DSN").write_text(f"mysql://u:{SECRET}@h/db\n")
    assert "RAGLEDGER_POSTGRES__DSN" in refused(variables)


def test_check_reads_the_file_of_objectives(tmp_path: Path) -> None:
    """Settings that `run` refuses are not valid."""
    missing = tmp_path / "slo.yaml"
    assert str(missing) in refused({"RAGLEDGER_SLO__FILE": str(missing)})


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://app@srv:{SECRET}@h/d",
        f"postgresql://u:a@{SECRET}:c@h/d",
        f"postgresql://u:12#{SECRET}@h/d",
        f"postgresql://u@h/d?password=1&{SECRET}=2",
    ],
)
def test_a_password_that_breaks_the_dsn_is_refused_by_every_command(dsn: str) -> None:
    """The error names the setting, has no traceback, and never contains the password."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAGLEDGER_")}
    for command in (["config", "check"], ["config", "show"], ["run"], ["migrate", "status"], ["doctor"]):
        done = program.run("consumer", *command, environment=ours | {"RAGLEDGER_POSTGRES__DSN": dsn})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("ragledger: RAGLEDGER_POSTGRES__DSN=(hidden): ")
        assert SECRET not in done.stderr
        assert "Traceback" not in done.stderr


def test_check_reports_ignored_settings() -> None:
    """Parameters for other clients, and variables that Kubernetes sets, are ignored."""
    variables = {"RAGLEDGER_POSTGRES__DSN": f"{DSN}?pool_timeout=9", "RAGLEDGER_PORT": "tcp://10.0.0.1:9108"}
    done = config("check", variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RAGLEDGER_PORT." in done.stdout
    assert "pool_timeout." in done.stdout
