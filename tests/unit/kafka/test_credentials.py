"""Tests the credentials of new connections to Kafka: changed TLS files are loaded again; clients share one token."""

import ssl
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.credentials.errors import CredentialsError
from consumer.kafka.client_patches import Connection, NoCredentials
from consumer.kafka.consumer import client_options
from consumer.kafka.credentials import KafkaCredentials, credentials_for
from consumer.settings.servers import Kafka, SecurityProtocol
from tests.support.certificates import Authority


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write an authority, a certificate and its key."""
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("client")
    return {"ssl_cafile": authority.certificate, "ssl_certfile": certificate, "ssl_keyfile": key}


def over_tls(files: dict[str, Path]) -> tuple[KafkaCredentials, Kafka]:
    """Return credentials with these files."""
    settings = Kafka(security_protocol=SecurityProtocol.SSL, **files)
    return KafkaCredentials(settings), settings


def subjects(context: ssl.SSLContext | None) -> list[str]:
    """Return the names of the trusted authorities."""
    assert context is not None
    return [authority["subject"][0][0][1] for authority in context.get_ca_certs()]


def test_the_context_is_made_again_when_a_file_changes(files: dict[str, Path], tmp_path: Path) -> None:
    """The files are loaded only after a change, because loading the system's authorities takes long."""
    credentials, settings = over_tls(files)
    first = credentials.tls(settings)
    assert credentials.tls(settings) is first
    assert subjects(first) == ["authority"]
    new = tmp_path / "new.pem"
    new.write_bytes(Authority(tmp_path, "stranger").certificate.read_bytes())
    new.rename(files["ssl_cafile"])
    assert subjects(credentials.tls(settings)) == ["stranger"]


def test_files_that_do_not_belong_together_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    """The error lasts only until both files are replaced."""
    credentials, settings = over_tls(files)
    credentials.tls(settings)
    certificate, key = Authority(tmp_path, "stranger").issue("client_2")
    files["ssl_certfile"].write_bytes(certificate.read_bytes())
    with pytest.raises(CredentialsError, match="RAGLEDGER_KAFKA__SSL_CERTFILE"):
        credentials.tls(settings)
    files["ssl_keyfile"].write_bytes(key.read_bytes())
    assert credentials.tls(settings) is not None


def test_an_encrypted_key_does_not_ask_for_a_password(files: dict[str, Path]) -> None:
    """Otherwise OpenSSL would ask on the terminal, and the service would wait without end."""
    credentials, settings = over_tls(files)
    encrypted = files["ssl_keyfile"].with_suffix(".encrypted")
    command = [
        "openssl",
        "pkey",
        "-aes256",
        "-passout",
        "pass:x",
        "-in",
        str(files["ssl_keyfile"]),
        "-out",
        str(encrypted),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    encrypted.rename(files["ssl_keyfile"])
    with pytest.raises(CredentialsError):
        credentials.tls(settings)


def test_all_clients_share_one_token() -> None:
    """Clients with the same settings share credentials."""
    one, same, other = (Kafka(group_id=name) for name in ("a", "a", "b"))
    assert credentials_for(one) is credentials_for(same)
    assert credentials_for(one) is not credentials_for(other)


def test_no_client_holds_a_secret() -> None:
    """aiokafka would use a password in its options for all connections."""
    settings = Kafka(security_protocol=SecurityProtocol.SASL_SSL, sasl_username="u", sasl_password=SecretStr("Zq7K"))
    options = client_options(settings)
    assert "Zq7K" not in repr(options)
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert options["ssl_context"].get_ca_certs() == []


async def test_without_credentials_no_server_is_asked(tmp_path: Path) -> None:
    """The reason is kept, as after a refusal by a broker."""
    authorities = tmp_path / "ca.pem"
    authorities.touch()
    settings = Kafka(security_protocol=SecurityProtocol.SSL, ssl_cafile=authorities)
    authorities.unlink()
    connection = Connection(
        "127.0.0.1", 9, security_protocol="SSL", sasl_oauth_token_provider=credentials_for(settings)
    )
    with pytest.raises(NoCredentials):
        await connection.connect()
    assert "RAGLEDGER_KAFKA__SSL_CAFILE" in Connection.refusal
    Connection.refusal = ""
