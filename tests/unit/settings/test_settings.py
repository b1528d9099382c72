"""Tests the sources of settings, and the errors for wrong and unknown settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import ValidationError

from consumer.settings.loading import ignored, known_variables, load
from consumer.settings.model import Settings
from consumer.settings.process import owner_name
from consumer.settings.shown import effective
from consumer.settings.sources import SettingsError, service_links, variable

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the person who runs the tests."""
    for name in os.environ:
        if name.upper().startswith("RAGLEDGER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def set_env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets RAGLEDGER_ variables: `set_env(KAFKA__GROUP_ID="x")`."""

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"RAGLEDGER_{name}", value)

    return set_all


def shown_meanings() -> dict[str, str]:
    """Return the description of each setting, by its variable."""
    return {shown.variable: shown.meaning for shown in effective(load())}


def refusal() -> str:
    """Return the error of the start."""
    with pytest.raises(SettingsError) as caught:
        load()
    return str(caught.value)


# ── sources ──


def test_the_defaults_are_those_of_the_contract() -> None:
    """The defaults are sufficient on a developer's machine."""
    settings = load()
    assert settings.kafka.group_id == "ragledger"
    assert (settings.topics.dialogue, settings.topics.provenance) == ("rag.dialogue", "rag.provenance")
    assert (settings.http.port, settings.rollup.interval_s, settings.rollup.timezone) == (9108, 60.0, "UTC")


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA__BOOTSTRAP_SERVERS",
        "KAFKA__GROUP_ID",
        "KAFKA__SECURITY_PROTOCOL",
        "POSTGRES__DSN",
        "POSTGRES__PGBOUNCER",
        "TOPICS__DIALOGUE",
        "TOPICS__PROVENANCE",
        "BATCH__MAX_ROWS",
        "BATCH__MAX_BYTES",
        "BATCH__MAX_DELAY_MS",
        "HTTP__HOST",
        "HTTP__PORT",
        "ROLLUP__INTERVAL_S",
        "ROLLUP__TIMEZONE",
        "SLO__FILE",
        "SHUTDOWN__TIMEOUT_S",
        "LOG__LEVEL",
        "LOG__FORMAT",
    ],
)
def test_the_contract_s_settings_exist(name: str) -> None:
    """They have the names of the contract, and each has a description."""
    assert shown_meanings()[f"RAGLEDGER_{name}"]


def test_every_setting_has_a_description() -> None:
    """`config show` and the documentation use it."""
    assert shown_meanings().keys() == known_variables().keys()
    assert [name for name, meaning in shown_meanings().items() if not meaning] == []


def test_the_environment_sets_them(set_env: Any) -> None:
    """The variables are RAGLEDGER_GROUP__NAME, in either case."""
    set_env(KAFKA__GROUP_ID="mine", HTTP__PORT="0", POSTGRES__PGBOUNCER="true", kafka__client_rack="r1")
    settings = load()
    assert (settings.kafka.group_id, settings.kafka.client_rack) == ("mine", "r1")
    assert (settings.http.port, settings.postgres.pgbouncer) == (0, True)


def test_an_env_file_sets_them_and_the_environment_wins(set_env: Any, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("RAGLEDGER_KAFKA__GROUP_ID=from-file\nRAGLEDGER_LOG__LEVEL=DEBUG\n")
    set_env(ENV_FILE=str(file), LOG__LEVEL="ERROR")
    settings = load()
    assert (settings.kafka.group_id, settings.log.level) == ("from-file", "ERROR")


@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_a_secrets_directory_sets_them(set_env: Any, tmp_path: Path, spell: Any) -> None:
    """It has one file for each setting, with the name of the variable, as Docker and Kubernetes mount secrets."""
    (tmp_path / spell("RAGLEDGER_POSTGRES__DSN")).write_text("postgresql://u:p@h/d\n")
    (tmp_path / spell("RAGLEDGER_KAFKA__SASL_PASSWORD")).write_text(SECRET)
    set_env(SECRETS_DIR=str(tmp_path))
    settings = load()
    assert settings.postgres.dsn.get_secret_value() == "postgresql://u:p@h/d"
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == SECRET


def test_the_environment_wins_over_a_secret(set_env: Any, tmp_path: Path) -> None:
    (tmp_path / "RAGLEDGER_POSTGRES__DSN").write_text("postgresql://file/d")
    set_env(SECRETS_DIR=str(tmp_path), POSTGRES__DSN="postgresql://environment/d")
    assert load().postgres.dsn.get_secret_value() == "postgresql://environment/d"


@pytest.mark.parametrize("value", ['{"a": 1}', "[1]", "null", "12345", '"quoted"', " spaces ", "a#b"])
def test_a_password_is_taken_as_it_is(set_env: Any, value: str) -> None:
    """This holds also if it looks like JSON."""
    set_env(KAFKA__SECURITY_PROTOCOL="SASL_SSL", KAFKA__SASL_USERNAME="u", KAFKA__SASL_PASSWORD=value)
    password = load().kafka.sasl_password
    assert password is not None
    assert password.get_secret_value() == value


def test_settings_do_not_change() -> None:
    """Settings cannot change after the check at the start."""
    settings: Any = load()
    with pytest.raises(ValidationError):
        settings.http.port = 1
    with pytest.raises(ValidationError):
        settings.http = None


# ── errors that stop the start ──


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTP__PORT", "99999", "less than or equal to 65535"),
        ("HTTP__PORT", "http", "valid integer"),
        ("KAFKA__GROUP_ID", "", "at least 1 character"),
        ("KAFKA__SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("BATCH__MAX_ROWS", "0", "greater than or equal to 1"),
        ("ROLLUP__INTERVAL_S", "0", "greater than 0"),
        ("ROLLUP__INTERVAL_S", "inf", "finite"),
        ("SHUTDOWN__TIMEOUT_S", "nan", ""),
        ("POSTGRES__STATEMENT_TIMEOUT_S", "inf", "less than or equal to 2147483"),
        ("POSTGRES__LOCK_TIMEOUT_S", "0.0004", "greater than or equal to 0.001"),
        ("KAFKA__BOOTSTRAP_SERVERS", "kafka:abc", "host:port, comma-separated"),
        ("KAFKA__BOOTSTRAP_SERVERS", "a:9092,,b:9092", "host:port, comma-separated"),
        ("KAFKA__BOOTSTRAP_SERVERS", "PLAINTEXT://a:9092", "host:port, comma-separated"),
        ("KAFKA__BOOTSTRAP_SERVERS", "", "host:port, comma-separated"),
        ("KAFKA__SSL_CAFILE", "/nowhere/at/all", "there is no such file"),
        ("TOPICS__DIALOGUE", "rag dialogue", "match pattern"),
        ("ROLLUP__TIMEZONE", "Mars/Olympus", "IANA"),
        ("LOG__LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("POSTGRES__POOL_SIZE", "1", "greater than or equal to"),
    ],
)
def test_a_wrong_value_stops_the_start(set_env: Any, name: str, value: str, said: str) -> None:
    """The message has the setting's name, its value, and the allowed values."""
    set_env(**{name: value})
    message = refusal()
    assert message.startswith(f"RAGLEDGER_{name}={value!r}: ")
    assert said in message


def test_every_wrong_setting_is_named(set_env: Any) -> None:
    """The message lists all errors, one on each line."""
    set_env(HTTP__PORT="x", LOG__LEVEL="x", ROLLUP__TIMEZONE="x")
    lines = refusal().splitlines()
    assert [line.split("=")[0] for line in lines] == [
        "RAGLEDGER_HTTP__PORT",
        "RAGLEDGER_ROLLUP__TIMEZONE",
        "RAGLEDGER_LOG__LEVEL",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KAFKA__GRUP_ID", "RAGLEDGER_KAFKA__GROUP_ID"),
        ("KAFKA_GROUP_ID", "RAGLEDGER_KAFKA__GROUP_ID"),
        ("HTTP__PROT", "RAGLEDGER_HTTP__PORT"),
        ("POSTGRESS__DSN", "RAGLEDGER_POSTGRES__DSN"),
    ],
)
def test_an_unknown_variable_stops_with_a_suggestion(set_env: Any, name: str, meant: str) -> None:
    """A misspelt setting must not be ignored."""
    set_env(**{name: "x"})
    assert refusal() == f"RAGLEDGER_{name}: there is no such setting (did you mean {meant}?)"


@pytest.mark.parametrize("name", ["KAFKA__GRUP_ID", "KAFK__GROUP_ID"])
def test_an_unknown_variable_in_the_env_file_stops_too(set_env: Any, tmp_path: Path, name: str) -> None:
    """It is named as in the file, with the same suggestion."""
    file = tmp_path / "env"
    file.write_text(f"RAGLEDGER_{name}=x\n")
    set_env(ENV_FILE=str(file))
    assert refusal() == f"RAGLEDGER_{name}: there is no such setting (did you mean RAGLEDGER_KAFKA__GROUP_ID?)"


def test_other_files_in_the_secrets_directory_are_not_read(set_env: Any, tmp_path: Path) -> None:
    """A keystore beside our files is not text."""
    (tmp_path / "keystore.jks").write_bytes(b"\xfe\xed\xfe\xed")
    (tmp_path / "RAGLEDGER_LOG__LEVEL").write_text("DEBUG")
    set_env(SECRETS_DIR=str(tmp_path))
    assert load().log.level == "DEBUG"


def test_an_unknown_file_in_the_secrets_directory_stops_too(set_env: Any, tmp_path: Path) -> None:
    """Otherwise a misspelt secret would be noticed only at the first connection."""
    (tmp_path / "RAGLEDGER_POSTGRES__DNS").write_text(SECRET)
    set_env(SECRETS_DIR=str(tmp_path))
    assert refusal() == "RAGLEDGER_POSTGRES__DNS: there is no such setting (did you mean RAGLEDGER_POSTGRES__DSN?)"


def test_a_secret_that_is_not_a_file_stops_the_start(set_env: Any, tmp_path: Path) -> None:
    """Docker makes a directory where a file to mount is missing; the default would be another database."""
    place = tmp_path / "RAGLEDGER_POSTGRES__DSN"
    set_env(SECRETS_DIR=str(tmp_path))
    place.mkdir()
    assert refusal() == f"RAGLEDGER_SECRETS_DIR: {place} is a directory, not a file"
    place.rmdir()
    place.symlink_to("nowhere")
    assert refusal() == f"RAGLEDGER_SECRETS_DIR: {place} is a link to nothing, not a file"
    place.unlink()
    os.mkfifo(place)
    assert refusal() == f"RAGLEDGER_SECRETS_DIR: {place} is a pipe, a socket or a device, not a file"
    place.unlink()
    (tmp_path / "target").write_text("postgresql://h/d")
    place.symlink_to("target")
    assert load().postgres.dsn.get_secret_value() == "postgresql://h/d"


def test_a_source_named_in_a_file_stops_the_start(set_env: Any, tmp_path: Path) -> None:
    """Only the environment names the sources; beside that, the same line in a file does no harm."""
    (tmp_path / "env").write_text(f"RAGLEDGER_SECRETS_DIR={tmp_path}\n")
    set_env(ENV_FILE=str(tmp_path / "env"))
    assert refusal() == "RAGLEDGER_SECRETS_DIR: has an effect in the environment only, not in a file"
    set_env(SECRETS_DIR=str(tmp_path))
    load()


def test_other_variables_in_the_env_file_are_not_ours(set_env: Any, tmp_path: Path) -> None:
    """An env file is often shared with other programs, like the environment."""
    file = tmp_path / "env"
    file.write_text("POSTGRES_PASSWORD=x\nRAGLEDGER_LOG__LEVEL=DEBUG\n")
    set_env(ENV_FILE=str(file))
    assert load().log.level == "DEBUG"


@pytest.mark.parametrize("name", ["ENV_FILE", "SECRETS_DIR"])
def test_a_missing_file_or_directory_stops_the_start(set_env: Any, name: str) -> None:
    """A named file or directory must exist, because the defaults would be another database."""
    set_env(**{name: "/nowhere/at/all"})
    assert f"RAGLEDGER_{name}" in refusal()


# ── settings that depend on each other ──


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize("given", [{}, {"KAFKA__SASL_USERNAME": "u"}, {"KAFKA__SASL_PASSWORD": SECRET}])
def test_sasl_needs_credentials(set_env: Any, protocol: str, given: dict[str, str]) -> None:
    """Both are required. The message names the settings and not their values."""
    set_env(KAFKA__SECURITY_PROTOCOL=protocol, **given)
    message = refusal()
    assert message.startswith(f"RAGLEDGER_KAFKA__SECURITY_PROTOCOL='{protocol}': ")
    assert "RAGLEDGER_KAFKA__SASL_USERNAME" in message
    assert "RAGLEDGER_KAFKA__SASL_PASSWORD" in message
    assert SECRET not in message


def test_each_kind_needs_a_topic_of_its_own(set_env: Any) -> None:
    """The topic decides the kind."""
    set_env(TOPICS__DIALOGUE="same", TOPICS__PROVENANCE="same")
    message = refusal()
    assert message.startswith("RAGLEDGER_TOPICS__DIALOGUE='same' and RAGLEDGER_TOPICS__PROVENANCE='same': ")
    assert "a topic of its own" in message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ERASURE__KEY": "too short"}, "every key needs 32 characters"),
        ({"ERASURE__KEY": "k" * 32, "ERASURE__PREVIOUS_KEYS": f"{'o' * 32}, short"}, "every key needs 32 characters"),
        ({"ERASURE__PREVIOUS_KEYS": "o" * 32}, "set the key in use"),
        ({"ERASURE__KEY": f"{'k' * 32},{'o' * 32}"}, "one key, without a comma"),
    ],
)
def test_an_invalid_key_of_erasure_is_refused(set_env: Any, given: dict[str, str], said: str) -> None:
    """The key is too short or has a wrong format; the message never shows it."""
    set_env(**given)
    message = refusal()
    assert message.startswith("RAGLEDGER_ERASURE")
    assert said in message
    assert not any(value in message for value in given.values())


def test_the_keys_of_erasure_in_their_order(set_env: Any) -> None:
    """The current key comes first, then the previous keys. Without a key, the list is empty."""
    assert load().erasure.secrets == []
    set_env(ERASURE__KEY="k" * 32, ERASURE__PREVIOUS_KEYS=f"{'o' * 32}, {'p' * 40}")
    assert load().erasure.secrets == [b"k" * 32, b"o" * 32, b"p" * 40]


# ── addresses ──


@pytest.mark.parametrize("servers", ["a", "a:1", "a.example:9092, b:9093", "[::1]:9092", "10.0.0.1:9092,10.0.0.2"])
def test_addresses_of_brokers(set_env: Any, servers: str) -> None:
    """There may be several brokers, with or without a port."""
    set_env(KAFKA__BOOTSTRAP_SERVERS=servers)
    assert load().kafka.bootstrap_servers == servers


@pytest.mark.parametrize(
    "rest",
    [
        "u:p@h:5432/d",
        "u:p@h1:5432,h2:5433/d?target_session_attrs=read-write",
        "h/d?sslmode=require&application_name=x&options=-c%20geqo%3Doff",
        "[::1]:5432/d",
        "u:p%40%2F@/d?host=/run/postgresql",
        "[fe80::1%25eth0]:5432/d?sslmode=verify-full&sslrootcert=system",
        "",
    ],
)
def test_dsns_that_the_client_accepts(set_env: Any, rest: str) -> None:
    """Some have several hosts, a socket, or server settings; one is empty."""
    set_env(POSTGRES__DSN=f"postgresql://{rest}")
    assert load().postgres.dsn.get_secret_value().endswith(rest)


@pytest.mark.parametrize("password", ["p\uff20x", "a[b]c", "12#34", "12/34", "1?a=1", "p@q/r@s"])
def test_a_password_that_breaks_a_dsn_is_not_shown(set_env: Any, password: str) -> None:
    """No part of such a password becomes a host; the message says how to encode it."""
    set_env(POSTGRES__DSN=f"postgresql://{SECRET}:{password}@h/d")
    message = refusal()
    assert message.startswith("RAGLEDGER_POSTGRES__DSN=(hidden): cannot be parsed as a URL")
    assert SECRET not in message
    assert password not in message


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("h:5432x/d", "the port a number"),
        ("h:5432,h2:x/d", "the port a number"),
        ("h/d?sslmode=on", "an sslmode that is not one of allow"),
        ("h/d?target_session_attrs=leader", "target_session_attrs that is not one of any"),
        ("h/d?hostaddr=10.0.0.1", "has hostaddr, which ragledger does not know: name it as the host"),
        ("h/d?sslmod=require", "has sslmod, which ragledger does not know"),
        ("h/d?ssl=true", "write sslmode=require or sslmode=verify-full"),
        ("h/d?schema=rag", "options=-csearch_path%3D"),
        ("h/d?sslmode", "as parameter 1"),
        ("h/d?port=x", "a port that is not a number"),
        ("h:70000/d", "the port a number"),
        ("h1,,h2/d", "the port a number"),
        ("/d?host=a,,b", "an invalid host"),
        ("/d?host=[::1", "an invalid host"),
        ("/d?host=a:b", "an invalid host"),
        ("/d?host=a,b&port=1,2,3", "another number of ports than of hosts"),
        ("h/d?pgbouncer=maybe", "a value of pgbouncer that is not one of"),
        ("h/d?sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
        ("h/d?sslnegotiation=direct", "needs sslmode=require or stricter"),
        ("h/d?ssl_min_protocol_version=SSLv3", "not one of TLSv1"),
        ("h%zz/d", "write a % as %25"),
        ("h/d?password=100%", "write a % as %25"),
        ("h/d?sslrootcert=/nowhere/at/all", "there is no such file"),
        ("localhost/d?host=/cloudsql/p:r:i", "has host as a parameter beside what stands before the ?"),
        ("h/d?port=6543", "has port as a parameter"),
        ("h/d?user=v", "has user as a parameter"),
        ("h/d?password=x", "has password as a parameter"),
        ("h/d?dbname=e", "has dbname as a parameter"),
    ],
)
def test_dsns_that_the_client_does_not_accept(set_env: Any, rest: str, said: str) -> None:
    """The start reports such parameters: otherwise the server would refuse every connection and look unavailable."""
    set_env(POSTGRES__DSN=f"postgresql://u:{SECRET}@{rest}")
    message = refusal()
    assert message.startswith("RAGLEDGER_POSTGRES__DSN=(hidden): ")
    assert said in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("u:p%40@h/d?schema=public&pgbouncer=true&connection_limit=1", ("u:p%40@h/d", {}, True)),
        ("h/d?supa=base-pooler.x&sslmode=require", ("h/d", {"sslmode": "require"}, True)),
        ("h/d?options=endpoint%3Dep-1&channel_binding=require", ("h/d", {"options": "endpoint=ep-1"}, False)),
        ("h/d?statement_cache_size=0", ("h/d", {}, True)),
        ("h/d?statement_cache_size=100&pgbouncer=false", ("h/d", {}, False)),
        ("h/d?connect_timeout=10&application_name=x", ("h/d", {}, False)),
        ("u@h/d?password=a+b%26c", ("u@h/d", {"password": "a+b&c"}, False)),
    ],
)
def test_the_dsn_for_the_client(set_env: Any, rest: str, parts: tuple[str, dict[str, str], bool]) -> None:
    """Parameters of other clients are removed, a pooler is recognised, and asyncpg decodes the intended values."""
    set_env(POSTGRES__DSN=f"postgres://{rest}")
    postgres = load().postgres
    sent = urlsplit(postgres.parsed.for_client())
    assert (sent.netloc + sent.path, dict(parse_qsl(sent.query)), postgres.pgbouncer) == parts


def test_the_setting_wins_over_a_dsn_that_names_a_pooler(set_env: Any) -> None:
    """An explicit setting has priority."""
    set_env(POSTGRES__DSN="postgresql://h/d?pgbouncer=true", POSTGRES__PGBOUNCER="false")
    assert not load().postgres.pgbouncer


def test_ignored_settings_are_named(set_env: Any) -> None:
    """There is one sentence for the DSN and one for the variables of Kubernetes."""
    set_env(POSTGRES__DSN="postgresql://h/d?pgbouncer=true")
    assert ignored(load()) == []
    set_env(POSTGRES__DSN=f"postgresql://u:{SECRET}@h/d?pool_timeout=1&connection_limit=1", PORT="tcp://10.0.0.1:9108")
    links, parameters = ignored(load())
    assert links.endswith(": RAGLEDGER_PORT")
    assert parameters.endswith(": connection_limit, pool_timeout")


@pytest.mark.parametrize("prefix", ["jdbc:postgresql://", "postgresql+asyncpg://", "postgres+psycopg2://"])
def test_the_url_of_another_client_is_named(set_env: Any, prefix: str) -> None:
    """The message says which part to remove."""
    set_env(POSTGRES__DSN=f"{prefix}u:{SECRET}@h/d")
    assert "must begin with postgresql://: that is the URL of another client" in refusal()


@pytest.mark.parametrize("rest", ["h/d?sslmode=verify-full", "h/d?sslmode=verify-ca"])
def test_a_server_without_authorities_to_verify_it_is_refused(
    set_env: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rest: str
) -> None:
    """Every connection would fail. It is sufficient to name the authorities in one of the possible places."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    set_env(POSTGRES__DSN=f"postgresql://{rest}")
    assert "sslrootcert=system" in refusal()
    authorities = tmp_path / ".postgresql" / "root.crt"
    authorities.parent.mkdir()
    authorities.touch()
    load()
    authorities.unlink()
    monkeypatch.setenv("PGSSLROOTCERT", "/etc/ca.pem")
    load()
    monkeypatch.delenv("PGSSLROOTCERT")
    ca = tmp_path / "ca.pem"
    ca.touch()
    set_env(POSTGRES__SSL_ROOT_CERT=str(ca))
    assert load().postgres.parsed.parameters["sslrootcert"] == str(ca)


# ── variables of Kubernetes ──

SERVICE_LINKS = {
    "PORT": "tcp://10.0.0.1:9108",
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "9108",
    "SERVICE_PORT_HTTP": "9108",
    "PORT_9108_TCP": "tcp://10.0.0.1:9108",
    "PORT_9108_TCP_PROTO": "tcp",
    "PORT_9108_TCP_PORT": "9108",
    "PORT_9108_TCP_ADDR": "10.0.0.1",
    "KAFKA_PORT": "tcp://[fd00::1]:9092",
    "KAFKA_SERVICE_HOST": "fd00::1",
    "METRICS_V2_PORT_53_UDP": "udp://10.0.0.1:53",
    "METRICS_V2_SERVICE_PORT_DNS_TCP": "53",
}


def test_variables_that_kubernetes_sets_for_our_service_are_ignored(set_env: Any) -> None:
    """They are recognised by name and value together."""
    set_env(**SERVICE_LINKS)
    load()
    assert service_links() == tuple(sorted(f"RAGLEDGER_{name}" for name in SERVICE_LINKS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "9109"),
        ("PORT", "9109"),
        ("KAFKA_SERVICE_HOST", "kafka"),
        ("SERVICE_PORT", "http"),
        ("PORT_9108_TCP_PROTO", "TLS"),
        ("PORT_9108_TCP", "tcp://kafka:9108"),
        ("HTTP__SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_a_misspelt_setting_is_not_mistaken_for_a_variable_of_kubernetes(set_env: Any, name: str, value: str) -> None:
    """One underscore too few is the usual mistake."""
    set_env(**{name: value})
    message = refusal()
    assert f"RAGLEDGER_{name}: there is no such setting" in message
    assert name != "HTTP_PORT" or "did you mean RAGLEDGER_HTTP__PORT?" in message


def test_a_setting_is_never_mistaken_for_a_variable_of_kubernetes(set_env: Any) -> None:
    """A variable with a setting's name is a setting, with any value."""
    set_env(HTTP__PORT="tcp://10.0.0.1:9108")
    assert "RAGLEDGER_HTTP__PORT=" in refusal()


def test_the_end_of_a_line_is_not_part_of_a_value(set_env: Any) -> None:
    """A Kubernetes secret that was created from a file contains its line break."""
    set_env(POSTGRES__DSN="postgresql://u:p@h/d\n", KAFKA__SASL_PASSWORD="p w \r\n", TOPICS__DIALOGUE="t\n")
    found = load()
    assert found.postgres.dsn.get_secret_value() == "postgresql://u:p@h/d"
    assert found.kafka.sasl_password is not None
    assert found.kafka.sasl_password.get_secret_value() == "p w "
    assert found.topics.dialogue == "t"


@pytest.mark.parametrize("mark", ["'", '"'])
def test_quotation_marks_around_a_dsn_are_named(set_env: Any, mark: str) -> None:
    """Docker's --env-file keeps quotation marks in the value."""
    set_env(POSTGRES__DSN=f"{mark}postgresql://u:{SECRET}@h/d{mark}")
    assert refusal().endswith("begins with a quotation mark: leave out the quotation marks around it")


# ── secrets ──


@pytest.mark.parametrize("dsn", [f"mysql://u:{SECRET}@h/d", SECRET, f"host=h password={SECRET}"])
def test_a_secret_is_hidden_in_errors(set_env: Any, dsn: str) -> None:
    """The name and the allowed values are sufficient."""
    set_env(POSTGRES__DSN=dsn)
    message = refusal()
    assert message == "RAGLEDGER_POSTGRES__DSN=(hidden): must begin with postgresql://"
    assert SECRET not in message


def test_no_error_shows_a_secret(set_env: Any) -> None:
    """Another setting of its group may be wrong too."""
    dsn = f"postgresql://u:{SECRET}@h/d"
    set_env(
        POSTGRES__DSN=dsn, POSTGRES__POOL_SIZE="x", KAFKA__SASL_PASSWORD=SECRET, KAFKA__SECURITY_PROTOCOL="SASL_SSL"
    )
    assert SECRET not in refusal()


def test_settings_do_not_print_secrets(set_env: Any) -> None:
    """This holds for text and for JSON."""
    set_env(POSTGRES__DSN=f"postgresql://u:{SECRET}@h/d", KAFKA__SASL_PASSWORD=SECRET)
    settings = load()
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


def test_the_owner_names_host_and_process() -> None:
    """The name identifies the replica in the ledger."""
    host, _, process = owner_name().rpartition(":")
    assert host
    assert int(process) == os.getpid()


def test_a_setting_and_its_variable() -> None:
    """The rule is the same in both directions."""
    assert variable("kafka", "group_id") == "RAGLEDGER_KAFKA__GROUP_ID"
    assert all(name.startswith("RAGLEDGER_") and "__" in name for name in known_variables())
    assert known_variables().keys() == {
        variable(group, name) for group, settings in Settings() for name in type(settings).model_fields
    }


@pytest.mark.parametrize("name", [name for name, field in known_variables().items() if field.default is None])
def test_an_empty_value_of_an_optional_setting_counts_as_missing(set_env: Any, name: str) -> None:
    """An empty value of an optional setting means no value, because a template may leave it empty."""
    set_env(**{name.removeprefix("RAGLEDGER_"): ""})
    assert load().model_dump() == Settings().model_dump()


def test_an_empty_value_of_another_setting_stops_the_start(set_env: Any) -> None:
    """The message names the setting."""
    set_env(HTTP__PORT="")
    assert refusal().startswith("RAGLEDGER_HTTP__PORT='': ")
