"""Tests the settings of logins: their validation, and that files of secrets are read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.settings.dsn import parse
from consumer.settings.loading import load, reread
from consumer.settings.logins import arguments_of, extensions_of
from consumer.settings.servers import Kafka, Postgres
from consumer.settings.sources import SettingsError

SECRET = "Zq7K"
OAUTH = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}
CLIENT = {"SASL_OAUTH_CLIENT_ID": "ragledger", "SASL_OAUTH_CLIENT_SECRET": SECRET}
URL = "https://login.example/token"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the person who runs the tests."""
    for name in os.environ:
        if name.upper().startswith(("RAGLEDGER_", "PG")):
            monkeypatch.delenv(name)


def kafka(monkeypatch: pytest.MonkeyPatch, **values: str) -> Kafka:
    """Return the group with these values."""
    for name, value in values.items():
        monkeypatch.setenv(f"RAGLEDGER_KAFKA__{name}", value)
    return load().kafka


def refused(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    """Return the error for these values."""
    with pytest.raises(SettingsError) as caught:
        kafka(monkeypatch, **values)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# ── allowed values ──


def test_a_token_comes_from_a_program_or_from_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token needs exactly one source."""
    assert "needs either" in refused(monkeypatch, **OAUTH)
    assert kafka(monkeypatch, **OAUTH, SASL_OAUTH_TOKEN_COMMAND="cat /token").sasl_oauth_token_command == "cat /token"
    assert "not both" in refused(monkeypatch, SASL_OAUTH_TOKEN_URL=URL)


def test_an_endpoint_needs_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint needs a client id and a client secret."""
    problem = refused(monkeypatch, **OAUTH, SASL_OAUTH_TOKEN_URL=URL)
    assert "RAGLEDGER_KAFKA__SASL_OAUTH_CLIENT_ID and RAGLEDGER_KAFKA__SASL_OAUTH_CLIENT_SECRET" in problem
    assert kafka(monkeypatch, **CLIENT).sasl_oauth_client_id == "ragledger"


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]:80/t", "https://h:1/t?a=b"]
)
def test_endpoints(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The URL is encrypted, or on the same machine."""
    assert kafka(monkeypatch, SASL_OAUTH_TOKEN_URL=url).sasl_oauth_token_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/token",
        "http://127.0.0.1.example/token",
        "ftp://localhost/token",
        "login.example/token",
        "https://",
        f"https://u:{SECRET}@login.example/token",
        "https://login.example:port/",
        "https://login .example/",
    ],
)
def test_endpoints_that_are_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The URL would send a secret unencrypted, or contains one."""
    assert "RAGLEDGER_KAFKA__SASL_OAUTH_TOKEN_URL" in refused(monkeypatch, SASL_OAUTH_TOKEN_URL=url)


@pytest.mark.parametrize(
    ("command", "problem"),
    [("cat 'x", "no closing quotation"), ("   ", "is empty"), ("/nowhere/program --x", "there is no such program")],
)
def test_commands_that_are_refused(monkeypatch: pytest.MonkeyPatch, command: str, problem: str) -> None:
    """The check happens at the start, not when the first token is needed."""
    assert problem in refused(monkeypatch, SASL_OAUTH_TOKEN_COMMAND=command)
    monkeypatch.delenv("RAGLEDGER_KAFKA__SASL_OAUTH_TOKEN_COMMAND")
    monkeypatch.setenv("RAGLEDGER_POSTGRES__PASSWORD_COMMAND", command)
    with pytest.raises(SettingsError, match=problem):
        load()


def test_words_of_a_command() -> None:
    """Words are split as in a shell; nothing is expanded."""
    assert arguments_of("aws rds --host 'a b' \"$HOME\" *") == ["aws", "rds", "--host", "a b", "$HOME", "*"]


def test_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name or value may contain a character that ends the message."""
    assert extensions_of("logicalCluster=lkc-1, identityPoolId=pool-2") == {
        "logicalCluster": "lkc-1",
        "identityPoolId": "pool-2",
    }
    for wrong in ("logicalCluster", "=x", "a=", "a1=x", "auth=x", "a=b\x01c=d"):
        assert "name=value" in refused(monkeypatch, SASL_OAUTH_EXTENSIONS=wrong)


@pytest.mark.parametrize("dsn", [f"postgresql://u:{SECRET}@h/d", f"postgresql://u@h/d?password={SECRET}"])
def test_a_password_has_one_source(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    """With two passwords, it would be unclear which one is used."""
    monkeypatch.setenv("RAGLEDGER_POSTGRES__DSN", dsn)
    monkeypatch.setenv("RAGLEDGER_POSTGRES__PASSWORD_COMMAND", "cat /token")
    with pytest.raises(SettingsError, match="leave out one of them") as caught:
        load()
    assert SECRET not in str(caught.value)


# ── values that are read again ──


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Create a secrets directory."""
    monkeypatch.setenv("RAGLEDGER_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_file_of_a_secret_is_read_again(secrets: Path) -> None:
    """User, password and TLS files are read again, except in a group that was not made from variables."""
    file = secrets / "RAGLEDGER_POSTGRES__DSN"
    file.write_text("postgresql://one:a@h/d\n")
    loaded = load().postgres
    file.write_text("postgresql://two:b@h/d\n")
    assert reread("postgres", loaded).dsn.get_secret_value() == "postgresql://two:b@h/d"
    by_hand = Postgres(dsn=SecretStr("postgresql://three@h/d"))
    assert reread("postgres", by_hand) is by_hand


def test_the_env_file_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The env file is read again too."""
    file = tmp_path / "env"
    monkeypatch.setenv("RAGLEDGER_ENV_FILE", str(file))
    file.write_text("RAGLEDGER_KAFKA__SASL_PASSWORD=one\nRAGLEDGER_KAFKA__CLIENT_RACK=a\n")
    loaded = load().kafka
    file.write_text("RAGLEDGER_KAFKA__SASL_PASSWORD=two\n")
    password = reread("kafka", loaded).sasl_password
    assert password is not None
    assert password.get_secret_value() == "two"


def test_a_missing_secret_does_not_become_the_default(secrets: Path) -> None:
    """The default is another database, and a file may be missing for a moment while it is replaced."""
    file = secrets / "RAGLEDGER_POSTGRES__DSN"
    file.write_text(f"postgresql://one:{SECRET}@h/d")
    loaded = load().postgres
    file.unlink()
    with pytest.raises(SettingsError, match="RAGLEDGER_POSTGRES__DSN: was set") as caught:
        reread("postgres", loaded)
    assert SECRET not in str(caught.value)


def test_a_secret_that_has_become_wrong_is_named(secrets: Path) -> None:
    """The file may be incomplete, because it is still being written."""
    file = secrets / "RAGLEDGER_POSTGRES__DSN"
    file.write_text("postgresql://one:a@h/d")
    loaded = load().postgres
    file.write_text(f"postgresql://one:{SECRET}@h@")
    with pytest.raises(SettingsError, match=r"RAGLEDGER_POSTGRES__DSN=\(hidden\)") as caught:
        reread("postgres", loaded)
    assert SECRET not in str(caught.value)


def test_other_files_do_not_matter_later(secrets: Path) -> None:
    """A backup copy of an editor is an error at the start only, and does not prevent connections later."""
    file = secrets / "RAGLEDGER_POSTGRES__DSN"
    file.write_text("postgresql://one:a@h/d")
    loaded = load().postgres
    (secrets / "RAGLEDGER_POSTGRES__DSN~").write_text("postgresql://one:b@h/d")
    assert reread("postgres", loaded).dsn.get_secret_value() == "postgresql://one:a@h/d"
    with pytest.raises(SettingsError, match="there is no such setting"):
        load()


def test_a_login_cannot_move_to_another_database() -> None:
    """Otherwise half of the pool would write to the old database, and half to the new one."""
    old = parse("postgresql://one:a@h:1/d?sslmode=require&sslcert=/old&options=-cx%3Dy")
    new = parse("postgresql://two:b@elsewhere:2/e?sslmode=disable&sslcert=/new&passfile=/p")
    assert old.with_login_of(new).for_client() == (
        "postgresql://two:b@h:1/d?sslmode=require&options=-cx%3Dy&sslcert=/new&passfile=/p"
    )
