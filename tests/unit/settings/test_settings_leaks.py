"""Tests that no part of a secret is shown, whatever is wrong with the settings and wherever the secret is in them."""

import asyncio
import errno
import json
import os
import pwd
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from asyncpg import connect_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.errors import YamlFileError
from consumer.ingest import slo
from consumer.ingest.ports import Unavailable
from consumer.postgres.admin import ConnectError, connect
from consumer.postgres.client import Database
from consumer.postgres.login import Login
from consumer.settings.loading import ignored, known_variables, load
from consumer.settings.shown import effective
from consumer.settings.sources import SettingsError

pytestmark = pytest.mark.thorough

# Pieces of four characters that no message contains, and separators of a DSN between them.
PIECES = st.sampled_from(["Zq7K", "Xw9P", "Vj3Y", "7301", "Jk5Ä"])
BETWEEN = st.sampled_from([*"@:/#?%&=,;+ '\"\\[]{}$", "%4", "%zz", "%40", "=x&", "\t", "@h/", ":1@", "://", "\uff20"])
SECRETS = st.lists(st.one_of(PIECES, BETWEEN), min_size=2, max_size=6).map("".join).filter(lambda s: run_of(s) != set())
DSNS = st.sampled_from(
    [
        "postgresql://app:{}@h/d",
        "postgres://app@srv:{}@h:5432/d",
        "postgresql://app:{}@h1:5432,h2:5433/d?target_session_attrs=any",
        "postgresql://app:{}@[::1]:5432/d",
        "postgresql://app:{}@/d?host=/run/postgresql",
        "postgresql://h/d?user=app&password={}",
        "postgresql://h/d?password={}&sslmode=require",
        "postgresql://h/d?password={}&sslrootcert=/nowhere",
        "postgresql://app@h/d?sslpassword={}",
        "postgresql://app@h/d;password={}",
        "postgresql://app@h/d&sslmode=require&password={}",
        "postgresql://:{}@h",
        "jdbc:postgresql://app:{}@h/d",
        "postgresql+asyncpg://app:{}@h/d?ssl=require",
        "postgresql:/app:{}@h/d",
        "host=h password={} dbname=d",
        "{}",
    ]
)
OTHERS = ["KAFKA__SASL_PASSWORD", "KAFKA__SASL_OAUTH_CLIENT_SECRET", "ERASURE__KEY", "ERASURE__PREVIOUS_KEYS"]


def run_of(secret: str) -> set[str]:
    """Return the pieces of a secret that a test can search for, because no message contains them otherwise."""
    pieces = ("Zq7K", "Xw9P", "Vj3Y", "7301", "Jk5Ä")
    runs = {secret[start : start + 4] for start in range(len(secret) - 3)}
    return {run for run in runs if run in pieces}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove the settings of the person who runs the tests."""
    for name in os.environ:
        if name.upper().startswith(("RAGLEDGER_", "PG")):
            monkeypatch.delenv(name)
    return monkeypatch


def shown() -> str:
    """Return everything that is shown of the settings, or the refusal with its traceback."""
    try:
        found = load()
    except SettingsError as error:
        return "".join(traceback.format_exception(error))
    texts = [repr(found), str(found), json.dumps(effective(found), default=str), *ignored(found)]
    return "\n".join(texts) + connecting(found)


def connecting(found: Any) -> str:
    """Return asyncpg's error about an accepted DSN; empty if it understands the DSN."""
    options = asyncio.run(Login(found.postgres).options())
    try:
        connect_utils._parse_connect_dsn_and_args(  # type: ignore[attr-defined]
            **dict.fromkeys(("host", "port", "user", "password", "passfile", "database", "ssl", "service")),
            **dict.fromkeys(("servicefile", "direct_tls", "target_session_attrs", "krbsrvname", "gsslib")),
            server_settings=None,
            dsn=options["dsn"],
        )
    except (ValueError, OSError) as error:
        return f"NOT UNDERSTOOD {type(error).__name__} {error}"
    return ""


hostile = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@hostile
@given(secret=SECRETS, dsn=DSNS)
def test_no_part_of_a_dsn_is_shown(clean: pytest.MonkeyPatch, secret: str, dsn: str) -> None:
    """The DSN may be valid or not. The client understands every accepted one."""
    clean.setenv("RAGLEDGER_POSTGRES__DSN", dsn.format(secret))
    said = shown()
    assert not any(run in said for run in run_of(secret)), said
    assert "NOT UNDERSTOOD" not in said


@hostile
@given(secret=SECRETS, name=st.sampled_from(OTHERS), wrong=st.booleans())
def test_no_part_of_another_secret_is_shown(clean: pytest.MonkeyPatch, secret: str, name: str, wrong: bool) -> None:
    """The secret may be valid, or it or another setting of its group may be wrong."""
    clean.setenv(f"RAGLEDGER_{name}", secret)
    clean.setenv("RAGLEDGER_KAFKA__SECURITY_PROTOCOL", "SASL_SSL" if wrong else "PLAINTEXT")
    assert not any(run in shown() for run in run_of(secret))


@hostile
@given(secret=SECRETS, name=st.sampled_from(["POSTGRES__DSN", *OTHERS]), mark=st.sampled_from([":", " ", "=", '="']))
def test_no_part_of_a_file_is_shown(
    clean: pytest.MonkeyPatch, tmp_path: Path, secret: str, name: str, mark: str
) -> None:
    """The file is an env file with a wrong line, or a group is given as JSON."""
    file = tmp_path / "env"
    file.write_text(f"RAGLEDGER_{name}{mark}{secret}\n{secret}\n")
    group, member = name.lower().split("__")
    for variable, value in {
        "RAGLEDGER_ENV_FILE": str(file),
        f"RAGLEDGER_{group.upper()}": json.dumps({member: secret}),
    }.items():
        clean.setenv(variable, value)
        assert not any(run in shown() for run in run_of(secret))
        clean.delenv(variable)


PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(["Zq7K" * 16] * 25) + "\n-----END PRIVATE KEY-----\n"
CONNECTION_STRINGS = [
    "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=Zq7K=",
    "host=h user=u password=Zq7K dbname=d",
    'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="Zq7K";',
    '{"username": "u", "password": "Zq7K"}',
    "postgresql://u:Zq7K@h/d",
]


@pytest.mark.parametrize("name", sorted({*known_variables(), "RAGLEDGER_ENV_FILE", "RAGLEDGER_SECRETS_DIR"}))
@pytest.mark.parametrize("secret", [PEM, *CONNECTION_STRINGS])
def test_no_part_of_a_secret_in_another_variable_is_shown(clean: pytest.MonkeyPatch, name: str, secret: str) -> None:
    """A key is given instead of its file, or a connection string instead of brokers."""
    clean.setenv(name, secret)
    assert "Zq7K" not in printed()


@pytest.mark.parametrize(
    "secret", ["hunter2", "Passw0rd!", "s3cr3t", "Zq7K", "correcthorsebatterystaple", "/aB3+xY9=="]
)
def test_no_part_of_a_password_in_a_variable_of_another_type_is_shown(clean: pytest.MonkeyPatch, secret: str) -> None:
    """The setting is a number, a choice, or the name of a required file: the value is refused and hidden."""
    refused = {}
    for name in known_variables():
        clean.setenv(name, secret)
        said = printed()
        if said.startswith("Traceback"):
            refused[name] = said
        clean.delenv(name)
    assert len(refused) > 35
    assert not [name for name, said in refused.items() if secret in said]


def test_the_message_about_a_hidden_value_does_not_depend_on_it(clean: pytest.MonkeyPatch) -> None:
    """A parser's message may quote one character of a password."""
    for name in known_variables():
        said = set()
        for secret in ("hunter2", "Zq7xWv9"):
            clean.setenv(name, secret)
            text = printed()
            said.add(text if text.startswith("Traceback") else "")
            clean.delenv(name)
        assert len(said) == 1, said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES__POOL_SIZE", "many"),
        ("POSTGRES__POOL_SIZE", "not-a-number"),
        ("BATCH__MAX_BYTES", "10 MB"),
        ("BATCH__MAX_ROWS", "-1"),
        ("SHUTDOWN__TIMEOUT_S", "30s"),
        ("LOG__LEVEL", "LOUD"),
        ("KAFKA__SECURITY_PROTOCOL", "SASL-SSL"),
        ("ROLLUP__TIMEZONE", "UTC+9"),
        ("KAFKA__SSL_CAFILE", "/etc/kafka/ca-2026.pem"),
        ("POSTGRES__SSL_ROOT_CERT", "ca2.crt"),
        ("KAFKA__BOOTSTRAP_SERVERS", "http://b-1.kafka2.example:9096"),
        ("TOPICS__DIALOGUE", "rag dialogue"),
    ],
)
def test_an_ordinary_wrong_value_is_shown(clean: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The person who reads the message needs the value to find it."""
    clean.setenv(f"RAGLEDGER_{name}", value)
    assert f"RAGLEDGER_{name}='{value}': " in printed()


@pytest.mark.parametrize(
    "name", ["KAFKA__SASL_PASWORD", "POSTGRES__PASSWORD", "ERASURE__KEYS", "KAFKA__GROUPID", "HTTP__PROT"]
)
def test_the_value_of_an_unknown_setting_is_not_shown(clean: pytest.MonkeyPatch, name: str) -> None:
    """It may be a secret whose setting is misspelt."""
    clean.setenv(f"RAGLEDGER_{name}", "geheim")
    said = printed()
    assert f"RAGLEDGER_{name}: there is no such setting" in said
    assert "geheim" not in said


def printed() -> str:
    """Return the output of `config show`, or the refusal."""
    try:
        return json.dumps(effective(load()), default=str)
    except SettingsError as error:
        return "".join(traceback.format_exception(error))


def test_no_part_of_a_key_in_a_dsn_is_shown(clean: pytest.MonkeyPatch) -> None:
    """The key is given instead of the name of its file."""
    for name in ("sslkey", "sslcert", "sslrootcert"):
        clean.setenv("RAGLEDGER_POSTGRES__DSN", f"postgresql://u@h/d?sslmode=verify-full&{name}={quote(PEM)}")
        assert "there is no such file" in shown()
        assert "Zq7K" not in shown()


@pytest.mark.parametrize("content", [PEM, "*Zq7K", "!Zq7K x", "&Zq7K", "- &a b\n- *Zq7K", "Zq7K: 'x"])
def test_no_part_of_a_secret_in_the_file_of_objectives_is_shown(tmp_path: Path, content: str) -> None:
    """A file that contains a secret was named by mistake."""
    file = tmp_path / "slo.yaml"
    file.write_text(content)
    with pytest.raises(YamlFileError) as caught:
        slo.load(file)
    assert "Zq7K" not in "".join(traceback.format_exception(caught.value))


def test_no_part_of_a_key_instead_of_the_file_of_objectives_is_shown() -> None:
    """The key is too long for a file name."""
    with pytest.raises(YamlFileError) as caught:
        slo.load(Path(PEM))
    assert "Zq7K" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("PGSERVICEFILE", "password=Zq7K\n"),
        ("PGSERVICEFILE", "[app]\nhost=127.0.0.1\npassword=%(Zq7K)s\n"),
        ("PGSERVICEFILE", "[app]\npassword=Zq7K\npassword=Zq7K\n"),
        ("PGSERVICEFILE", "[app]\nport=Zq7K\n"),
        ("PGPASSFILE", "127.0.0.1:1:*:u:Zq7K\n\xff"),
    ],
)
def test_no_part_of_the_files_of_the_client_is_shown(
    clean: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str
) -> None:
    """Python's own errors quote the line with the password."""
    file = tmp_path / "file"
    file.write_bytes(content.encode("latin-1"))
    file.chmod(0o600)
    clean.setenv(variable, str(file))
    dsn = "postgresql:///?service=app" if variable == "PGSERVICEFILE" else "postgresql://u@127.0.0.1:1/d"
    clean.setenv("RAGLEDGER_POSTGRES__DSN", dsn)
    for attempt, expected in ((connect_as_tool, ConnectError), (connect_as_service, Unavailable)):
        with pytest.raises(expected) as caught:
            asyncio.run(attempt(dsn))
        said = "".join(traceback.format_exception(caught.value))
        assert "Zq7K" not in said
        assert "PGSERVICEFILE" in said


@pytest.mark.parametrize(
    ("variable", "value"), [("PGTARGETSESSIONATTRS", "Zq7K"), ("PGSSLMODE", "Zq7K"), ("PGPORT", "Zq7K")]
)
def test_no_part_of_a_variable_of_the_client_is_shown(clean: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """asyncpg quotes the value."""
    clean.setenv(variable, value)
    said = why_not_connected(clean, "postgresql://u@/d" if variable == "PGPORT" else "postgresql://u@127.0.0.1:1/d")
    assert "Zq7K" not in said
    assert "a variable PG*" in said


def test_a_process_whose_user_has_no_name_is_reported_with_the_fix(clean: pytest.MonkeyPatch) -> None:
    """A container may run with any user id, and asyncpg asks for the user's name."""
    clean.setattr("getpass.getuser", lambda: pwd.getpwuid(54321))
    assert "the DSN names no user" in why_not_connected(clean, "postgresql://127.0.0.1:1/d")


def test_a_home_directory_without_the_right_to_read_is_named(clean: pytest.MonkeyPatch) -> None:
    """asyncpg looks there for certificates, even if root has started the process as another user."""
    denied = PermissionError(errno.EACCES, "Permission denied", "/srv/app/.postgresql/postgresql.key")
    clean.setattr("asyncpg.connect_utils._dot_postgresql_path", Mock(side_effect=denied))
    said = why_not_connected(clean, "postgresql://u@127.0.0.1:1/d?sslmode=require")
    assert "the user of this process may not read /srv/app/.postgresql/postgresql.key: set HOME" in said


def why_not_connected(clean: pytest.MonkeyPatch, dsn: str) -> str:
    """Return the errors of a command and of the service, with tracebacks."""
    clean.setenv("RAGLEDGER_POSTGRES__DSN", dsn)
    said = []
    for attempt, expected in ((connect_as_tool, ConnectError), (connect_as_service, Unavailable)):
        with pytest.raises(expected) as caught:
            asyncio.run(attempt(dsn))
        said.append("".join(traceback.format_exception(caught.value)))
    assert ("Zq7K" in said[0]) == ("Zq7K" in said[1])
    return "".join(said)


@pytest.mark.parametrize("what", ["RAGLEDGER_ENV_FILE", "RAGLEDGER_SECRETS_DIR", "KAFKA__SSL_CAFILE", "SSL_ROOT_CERT"])
def test_a_file_without_the_right_to_read_is_named_with_its_setting(
    clean: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """Such a file is mounted for another user. Root can read every file, so the test replaces the error."""
    file = tmp_path / "RAGLEDGER_KAFKA__SASL_PASSWORD"
    file.write_text("Zq7K")
    variable = {
        "SSL_ROOT_CERT": "RAGLEDGER_POSTGRES__SSL_ROOT_CERT",
        "KAFKA__SSL_CAFILE": "RAGLEDGER_KAFKA__SSL_CAFILE",
    }
    name = variable.get(what, what)
    clean.setenv(name, str(tmp_path if what == "RAGLEDGER_SECRETS_DIR" else file))
    clean.setattr(os, "access", lambda *_: False)
    denied = Mock(side_effect=PermissionError(errno.EACCES, "Permission denied", str(file)))
    clean.setattr(Path, "read_bytes", denied)
    clean.setattr(Path, "read_text", denied)
    with pytest.raises(SettingsError, match="user of this process") as caught:
        load()
    assert name in str(caught.value)
    assert str(file) in str(caught.value)


def test_authorities_in_an_unreadable_home_directory_do_not_count(clean: pytest.MonkeyPatch) -> None:
    """The message says what is needed. It does not report a file that no setting has named."""
    clean.setattr(Path, "is_file", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    clean.setenv("RAGLEDGER_POSTGRES__DSN", "postgresql://u@h/d?sslmode=verify-full")
    with pytest.raises(SettingsError, match="add sslrootcert=system"):
        load()


async def connect_as_tool(dsn: str) -> None:
    """Connect as the commands do."""
    async with connect(dsn):
        pass


async def connect_as_service(_dsn: str) -> None:
    """Connect as the service does."""
    database = Database(load().postgres)
    await database.open()
    async with database.transaction():
        pass


def test_every_secret_is_tried() -> None:
    """Add each new secret of the settings here."""
    secrets = {name for name, field in known_variables().items() if "SecretStr" in str(field.annotation)}
    assert secrets == {f"RAGLEDGER_{name}" for name in ("POSTGRES__DSN", *OTHERS)}


@pytest.mark.parametrize(
    "dsn", ["postgresql://app@srv:Zq7K@h/d", "postgresql://u:Zq7K@127.0.0.1:1/d", "postgresql://u:Xw9P@h:Zq7K/d"]
)
def test_no_part_of_an_unchecked_dsn_is_shown(dsn: str) -> None:
    """A tool may be given a DSN directly."""

    async def attempt() -> None:
        async with connect(dsn):
            pass

    with pytest.raises(ConnectError) as caught:
        asyncio.run(attempt())
    assert not any(run in "".join(traceback.format_exception(caught.value)) for run in ("Zq7K", "Xw9P"))
