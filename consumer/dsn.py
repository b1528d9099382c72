"""What a DSN may say, looked at before anything is connected: a wrong one looks like a server that is away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlsplit

SCHEMES = ("postgresql://", "postgres://")
SSL_FILES = frozenset({"sslrootcert", "sslcert", "sslkey"})
SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
SESSIONS = frozenset({"any", "primary", "standby", "read-write", "read-only", "prefer-standby"})
# Parameters of libpq that asyncpg does not know. It would send them to the server as settings, which refuses them.
# https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
OF_LIBPQ = frozenset(
    {
        *("channel_binding", "connect_timeout", "fallback_application_name", "gssdelegation", "gssencmode", "hostaddr"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts"),
        *("replication", "require_auth", "requirepeer", "scram_client_key", "scram_server_key", "sslcertmode"),
        *("sslcompression", "sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout"),
    }
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:,@\[\]]*)(:\d{1,5})?")


def problems_of(dsn: str) -> Iterator[str]:
    """What is wrong with a DSN, in words that complete "the DSN …" and repeat nothing of it but names."""
    if not dsn.startswith(SCHEMES):
        yield "must begin with postgresql://"
        return
    parts = _taken_apart(dsn)
    if parts is None:
        yield "is no URL that can be taken apart: write special characters of user and password as %40 and the like"
        return
    yield from _problems_of_parts(parts)


def _taken_apart(dsn: str) -> SplitResult | None:
    try:
        parts = urlsplit(dsn)
    except ValueError:  # whose text quotes user and password
        return None
    # Where these are, what was meant as a password would be taken for a host.
    return None if parts.fragment or "@" in parts.path + parts.query else parts


def _problems_of_parts(parts: SplitResult) -> Iterator[str]:
    if not all(map(_HOST.fullmatch, parts.netloc.rpartition("@")[2].split(","))):
        yield "must be postgresql://user:password@host:port/database, the port a number; several hosts with commas"
    given = parse_qs(parts.query)
    if not set(given.get("sslmode", [])) <= SSL_MODES:
        yield f"has an sslmode that is none of {', '.join(sorted(SSL_MODES))}"
    if not set(given.get("target_session_attrs", [])) <= SESSIONS:
        yield f"has target_session_attrs that are none of {', '.join(sorted(SESSIONS))}"
    for name in sorted(OF_LIBPQ & given.keys()):
        yield f"has {name}, which is libpq's and means nothing to asyncpg: leave it out{_INSTEAD.get(name, '')}"
    for name, path in parse_qsl(parts.query):
        if name in SSL_FILES and not Path(path).is_file():
            yield f"names {name}={path}, and there is no such file"


_INSTEAD = {"connect_timeout": ", and set RAGLEDGER_POSTGRES__CONNECT_TIMEOUT_S"}
