"""Parses a DSN strictly, before any connection is made: a wrong DSN would look like an unavailable server.

asyncpg parses a DSN less strictly than libpq: it takes the first @ for the end of the credentials, ignores a broken %,
converts + to a space, and sends every unknown parameter to the server as a setting. A password with special characters
then becomes a host, a port or a database, which later messages show. So this module rejects every ambiguous DSN, and
writes a new DSN for asyncpg.

Messages quote only names of parameters and of files from a DSN, and only if they cannot be a part of a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from consumer.settings.dsn_parameters import (
    CHOICES,
    IGNORED,
    INSTEAD,
    LOGIN,
    POOLED,
    SECRETS,
    SSL_FILES,
    SYSTEM,
    UNDERSTOOD,
    VERIFIED,
)
from consumer.settings.given import HIDDEN, is_file, is_readable, shown_path

SCHEMES = ("postgresql://", "postgres://")
_ARTICLE = {"sslmode": "an sslmode", "target_session_attrs": "a target_session_attrs"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%25[\w.-]+)?\]|[^\s:,@/?#\[\]]*)(:\d{1,5})?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_NAME = re.compile(r"[A-Za-z][\w.-]{0,39}", re.ASCII)
_OTHER_CLIENTS = re.compile(r"jdbc:|postgres(ql)?\+\w+://")


class DsnError(ValueError):
    """A DSN is wrong; the message completes "the DSN …"."""


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A parsed DSN: credentials and hosts are still encoded, parameters are decoded."""

    credentials: str
    hosts: str
    database: str
    parameters: Mapping[str, str]

    @property
    def is_pooled(self) -> bool:
        """Whether a parameter is a hint that the host is a pooler in transaction mode."""
        return bool(self._pooler_hints)

    @property
    def _pooler_hints(self) -> frozenset[str]:
        given = self.parameters
        return frozenset(
            name
            for name, values in POOLED.items()
            if name in given and (values is None or given[name].lower() in values)
        )

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of the parameters that have no effect."""
        return tuple(sorted(self.parameters.keys() - UNDERSTOOD - self._pooler_hints))

    @property
    def sslmode(self) -> str | None:
        """The sslmode from the DSN or the environment, or None."""
        default = "verify-full" if self.trusts_system else os.environ.get("PGSSLMODE") or None
        return self.parameters.get("sslmode", default)

    @property
    def trusts_system(self) -> bool:
        """Whether the operating system's authorities are trusted."""
        return self.parameters.get("sslrootcert", os.environ.get("PGSSLROOTCERT")) == SYSTEM

    def with_parameters(self, **parameters: str) -> Dsn:
        """Return this DSN with parameters added or replaced."""
        return Dsn(self.credentials, self.hosts, self.database, {**self.parameters, **parameters})

    def for_client(self) -> str:
        """Return the DSN as text for asyncpg, without the parameters that asyncpg does not know."""
        given = {name: value for name, value in self.parameters.items() if name in UNDERSTOOD}
        query = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in given.items())
        return f"postgresql://{self.credentials}{self.hosts}{self.database}{'?' if query else ''}{query}"

    @property
    def has_password(self) -> bool:
        """Whether the DSN contains a password."""
        return ":" in self.credentials or "password" in self.parameters

    def with_login_of(self, other: Dsn) -> Dsn:
        """Return a DSN for the same database, with the credentials and the TLS files of another DSN."""
        kept = {name: value for name, value in self.parameters.items() if name not in LOGIN}
        given = {name: value for name, value in other.parameters.items() if name in LOGIN}
        return Dsn(other.credentials, self.hosts, self.database, kept | given)

    @property
    def host(self) -> str:
        """The first host; empty if the client chooses it."""
        first = (self.hosts or self.parameters.get("host", "")).partition(",")[0]
        return first.partition("]")[0].lstrip("[") if first.startswith("[") else first.partition(":")[0]

    @property
    def address(self) -> str:
        """Hosts, ports and database, for messages."""
        return f"{self.hosts}{self.database}" or "the default PostgreSQL"


def parse(dsn: str) -> Dsn:
    """Parse a DSN.

    :raises DsnError: it is wrong or ambiguous
    """
    if dsn.startswith(("'", '"')):  # Docker's --env-file, and Compose before 2, keep quotation marks in the value
        raise DsnError("begins with a quotation mark: leave out the quotation marks around it")
    if not dsn.startswith(SCHEMES):
        advice = ": that is the URL of another client; leave out the part before" if _OTHER_CLIENTS.match(dsn) else ""
        raise DsnError(f"must begin with postgresql://{advice}")
    rest = dsn.partition("://")[2]
    before, _, query = rest.partition("?")
    netloc, slash, database = before.partition("/")
    credentials, at, hosts = netloc.rpartition("@")
    _refuse_unescaped(rest, credentials)
    if "@" in query + database:  # a part of the password would become a host
        raise DsnError(f"cannot be parsed as a URL: {_ESCAPED}")
    if not _are_hosts(hosts):
        raise DsnError(
            "must be postgresql://user:password@host:port/database, the port a number; several hosts with commas;"
            f" {_ESCAPED}"
        )
    if re.search(r"[;&=]", database):  # messages would show the parameters as a part of the name
        raise DsnError(
            "has ; & or = after the name of the database: parameters begin with ? and are separated by &; in the name"
            " itself, write these characters as %3B, %26 and %3D"
        )
    return Dsn(credentials + at, hosts, slash + database, _parameters(query))


def _are_hosts(hosts: str) -> bool:
    """Whether the text is a list of hosts. An empty one is valid: the client then chooses."""
    each = [_HOST.fullmatch(host) for host in hosts.split(",")]
    ports = [match[3] for match in each if match and match[3]]
    is_named = len(each) == 1 or all(match and match[1] for match in each)
    return all(each) and is_named and all(_is_port(port[1:]) for port in ports)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535


_ESCAPED = "write special characters of user and password as %40 for @, %2F for /, %3A for : and so on"


def _refuse_unescaped(rest: str, credentials: str) -> None:
    if re.search(r"[\s\x00-\x1f\x7f#]", rest) or re.search(r"[@\[\]]", credentials) or not rest.isprintable():
        raise DsnError(f"cannot be parsed as a URL: {_ESCAPED}")
    if _BROKEN_ESCAPE.search(rest):
        raise DsnError("has a % without two hexadecimal digits after it: write a % as %25")
    try:
        unquote(rest, errors="strict")
        rest.encode()
        urlsplit(f"postgresql://{rest}")  # as asyncpg does; its errors quote user and password
    except UnicodeError:
        raise DsnError("has characters that are not UTF-8") from None
    except ValueError:
        raise DsnError(f"cannot be parsed as a URL: {_ESCAPED}") from None


def _parameters(query: str) -> Mapping[str, str]:
    """Return the parameters. Of duplicates, the last one counts.

    The name of an unknown parameter after a secret is not shown: it may be the rest of a secret that contains a &.
    """
    found: dict[str, str] = {}
    for place, part in enumerate(query.split("&") if query else (), 1):
        name, separator, value = part.partition("=")
        unknown = name not in UNDERSTOOD | IGNORED and not _is_default_schema(name, value)
        if not separator or unknown:
            is_shown = separator and _NAME.fullmatch(name) and not SECRETS & found.keys()
            raise DsnError(_unknown(name if is_shown else "", place))
        found[name] = unquote(value)
    return found


def _is_default_schema(name: str, value: str) -> bool:
    """Whether a parameter for Prisma or JDBC names the default schema, which ragledger uses too."""
    return name in ("schema", "currentSchema") and value == "public"


def _unknown(name: str, place: int) -> str:
    if not name:
        return f"has something else than a known name=value as parameter {place} after the ?: write & in values as %26"
    return f"has {name}, which ragledger does not know: {INSTEAD.get(name, 'leave it out')}"


def problems_of(dsn: str) -> Iterator[str]:
    """Yield the problems of a DSN. Each completes "the DSN …"."""
    try:
        parsed = parse(dsn)
    except DsnError as error:
        yield str(error)
        return
    yield from _problems_of(parsed.parameters)
    yield from _named_twice(parsed)
    if parsed.trusts_system and parsed.sslmode != "verify-full":
        yield "has sslrootcert=system, which needs sslmode=verify-full"
    if parsed.parameters.get("sslnegotiation") == "direct" and parsed.sslmode not in ("require", *VERIFIED):
        yield "has sslnegotiation=direct, which needs sslmode=require or stricter"


def _problems_of(given: Mapping[str, str]) -> Iterator[str]:
    for name, allowed in CHOICES.items():
        if name in given and given[name] not in allowed:
            yield f"has {_ARTICLE.get(name, f'a value of {name}')} that is not one of {', '.join(sorted(allowed))}"
    ports = given.get("port", "1").split(",")
    if not all(map(_is_port, ports)):
        yield "has a port that is not a number up to 65535"
    hosts = given.get("host", "h").split(",")
    if not all(host.startswith("/") or (host and _are_hosts(host)) for host in hosts) and given.get("host"):
        yield "has an invalid host"
    if len(ports) > 1 and "host" in given and len(ports) != len(hosts):
        yield "has another number of ports than of hosts"
    for name in sorted(SSL_FILES & given.keys()):
        file = Path(given[name])
        if not (name == "sslrootcert" and given[name] == SYSTEM) and not (is_file(file) and is_readable(file)):
            is_hidden = SECRETS & given.keys() or shown_path(given[name]) == HIDDEN
            path = HIDDEN if is_hidden else given[name]
            problem = "the user of this process may not read it" if is_file(file) else "there is no such file"
            yield f"names {name}={path}, and {problem}"


def _named_twice(dsn: Dsn) -> Iterator[str]:
    """Yield the parameters for which the URL has a value too: libpq takes the parameter, asyncpg the URL's value."""
    user, colon, _ = dsn.credentials.removesuffix("@").partition(":")
    database = dsn.database.strip("/")
    before = {"host": dsn.hosts, "port": dsn.hosts, "user": user, "password": colon}
    before |= {"dbname": database, "database": database}
    for name in sorted(dsn.parameters.keys() & before.keys()):
        if before[name]:
            yield f"has {name} as a parameter beside what stands before the ?: name it there, or only as a parameter"


def lacks_authorities(dsn: Dsn) -> bool:
    """Whether the sslmode verifies the server, but no authorities are known, so that no connection is possible."""
    named = dsn.parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    return dsn.sslmode in VERIFIED and not named and not is_file(_home_authorities())


def _home_authorities() -> Path:
    try:
        return Path.home() / ".postgresql" / "root.crt"
    except RuntimeError:  # a container's user needs no home
        return Path("root.crt")
