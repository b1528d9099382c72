"""Tests what commands say if PostgreSQL refuses a session: the server's reason, and no word of the schema."""

import pytest

from tests.support.service import Environment
from tests.support.stack import Servers


@pytest.mark.parametrize("command", ["ledger", "migrate status"])
@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("{}_nowhere", '_nowhere" does not exist (3D000): create it, or correct RAGLEDGER_POSTGRES__DSN'),
        ("{}?options=-cgeqoo%3Doff", 'unrecognized configuration parameter "geqoo" (42704): correct the options in'),
        ("{}?options=-cgeqo%3DZq7K", "(22023): correct the options in RAGLEDGER_POSTGRES__DSN"),
    ],
)
def test_the_reason_is_the_server_s(stack: Servers, command: str, dsn: str, said: str) -> None:
    """A database that does not exist, a setting that does not exist, and a value that may be a secret."""
    failed = Environment(dsn.format(stack.dsn), "127.0.0.1:9", {}).run(*command.split())
    assert failed.returncode == 1
    assert "PostgreSQL refuses the connection: " in failed.stderr
    assert said in failed.stderr
    assert "schema" not in failed.stderr
    assert "Zq7K" not in failed.stderr
