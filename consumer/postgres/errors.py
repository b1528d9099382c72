"""The errors of PostgreSQL, translated once: what a row provokes, what an outage is, and what to do about it.

The base classes are in :mod:`consumer.ingest.ports`:

StoreError
    Refused            PostgreSQL rejects a value: the row is at fault
    Unavailable        the store cannot be used now: wait and try again
        Objection      a refused statement that is no outage; a row may be the cause
            CopyNotSupported
        WrongDatabase  the service cannot use this database
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg

from consumer.credentials.errors import CredentialsError
from consumer.ingest.ports import Cause, Refused, StoreError, Unavailable
from consumer.postgres.client_files import UnreadableError
from consumer.postgres.login import COMMAND, DSN, SessionRefusedError
from consumer.postgres.queries import name_of
from consumer.postgres.tls import certificate_problem

UNIQUE_VIOLATION = "23505"
INTERNAL_ERROR = "XX000"
_SCHEMA_MISSING = frozenset({"42P01", "42703", "42704", "3F000"})
# "No data" in the SQL standard. Here: a row was not inserted although its id is new.
SKIPPED = "02000"
_NOT_ALLOWED = "42501"
_ABOUT_THE_SESSION = frozenset({"28", "53"})  # authentication, connections, memory, disk: the message has no event text
_LOGIN = "28"
# Data exceptions, integrity constraints, WITH CHECK OPTION, program limits (an index entry too large, JSON nested too
# deeply), errors raised by triggers. Source: PostgreSQL's manual, appendix A; class 45 is the SQL standard's class for
# errors of users.
_DATA_CLASSES = frozenset({"22", "23", "44", "45", "54", "P0"})
_CAUSES = {
    "08": Cause.CONNECTION,
    "25": Cause.READ_ONLY,
    "28": Cause.PRIVILEGE,
    "40": Cause.CONFLICT,
    "42": Cause.SCHEMA,
    "53": Cause.RESOURCES,
    "55": Cause.LOCK,
    "57": Cause.SHUTDOWN,
    "58": Cause.SYSTEM,
    # Codes whose cause differs from the cause of their class.
    "25P03": Cause.TIMEOUT,
    "25P04": Cause.TIMEOUT,
    "42501": Cause.PRIVILEGE,
    "57014": Cause.TIMEOUT,
}
# PostgreSQL's own codes for an outage: connections, read-only, authentication, conflicts, resources, locks, shutdown,
# the system, broken files. A statement in the server uses the same pattern.
OUTAGES = "08|25|28|40|53|57|58|55006|55P03|XX001|XX002"
_IS_OUTAGE = re.compile(OUTAGES)
# On a Citus cluster, a lost worker may also look like an internal error. These files of Citus report it. multi_copy.c
# is not one of them: it reports every error of a COPY in this way, those of rows too.
OUTAGES_OF_CLUSTER = f"{OUTAGES}|{INTERNAL_ERROR}"
_ABOUT_WORKERS = frozenset(
    {
        "adaptive_executor.c",
        "connection_management.c",
        "placement_connection.c",
        "remote_commands.c",
        "remote_transaction.c",
    }
)
# The C function that reports errors of PL/pgSQL's RAISE. A trigger of the owner then chose the SQLSTATE, so its class
# has no meaning. A statement in the server sees only the first line of the context. That line is in the server's
# language and contains the name of the function, which may be quoted. RAISE is the last word of the line, or one of the
# last. A line that quotes a statement has a quotation mark before PL/pgSQL.
_RAISE = "exec_stmt_raise"
RAISED = r"""^[^"]*PL/pgSQL.*[^[:alnum:]_"()]RAISE([^[:alnum:]_"()][^"()]*)?$"""
# This is longer than a transaction waits for its turn. PostgreSQL then ends the transactions of a frozen process.
IDLE_SECONDS = 10.0
_IDLE = "25P03"
_CANCELED = "57014"
ENDED = (
    "the server closed the connection in the middle of a transaction, between two statements: it does so if a"
    f" transaction is idle for {IDLE_SECONDS:.0f} s ({_IDLE}), or when it shuts down"
)
_IN_FUNCTION = (
    ". The error is from a statement in a function, such as a trigger's. If it does not end, a row may be the cause:"
    " PostgreSQL's log names the function"
)


def _raise_every_sqlstate() -> None:
    """Make asyncpg raise errors of the classes 01 and 02 too, which a trigger may choose.

    asyncpg maps them to notices, which cannot be raised: the caller would get a TypeError. For a class without an
    entry, asyncpg raises an UnknownPostgresError.
    """
    known: dict[str, type] = vars(type(asyncpg.PostgresError))["_message_map"]
    for sqlstate in [code for code, kind in known.items() if issubclass(kind, asyncpg.PostgresLogMessage)]:
        del known[sqlstate]


_raise_every_sqlstate()


class Objection(Unavailable):
    """PostgreSQL refused a statement, and this is not an outage. A right or a table is missing, or a row has caused the
    error.

    Code that writes rows finds out the cause. For all other code the store is unavailable.
    """

    def __init__(
        self, message: str, cause: Cause, sqlstate: str, constraint: tuple[str, str, str] | None = None
    ) -> None:
        super().__init__(message, cause)
        self.sqlstate, self.constraint = sqlstate, constraint


class WrongDatabase(Unavailable):
    """The service cannot use this database. Raised within a transaction."""


class CopyNotSupported(Objection):
    """PostgreSQL does not support COPY here, because row-level security applies to this role."""


OBJECTIONS = (Refused, Objection)


@contextmanager
def translated_errors(sql: str = "") -> Iterator[None]:
    """Translate asyncpg's errors into ours, without the DETAIL of PostgreSQL, which quotes the row: event text."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translate(_said_by_server(error), name_of(sql)) from None
    except (UnreadableError, SessionRefusedError) as error:
        raise Unavailable(str(error), Cause.CONNECTION) from None
    except CredentialsError as error:
        raise Unavailable(str(error), Cause.CREDENTIALS) from None
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(certificate_problem(error), Cause.TLS) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        if isinstance(error, ValueError):  # asyncpg cannot encode an argument: a fault of this program, not an outage
            raise
        raise Unavailable(
            f"the connection to PostgreSQL failed: {str(error) or type(error).__name__}", Cause.CONNECTION
        ) from error


def _said_by_server(error: asyncpg.PostgresError) -> asyncpg.PostgresError:
    """The error that the server sent before it closed the connection. asyncpg sets it as the cause."""
    cause = error.__cause__
    is_lost = isinstance(error, asyncpg.PostgresConnectionError)
    return cause if is_lost and isinstance(cause, asyncpg.PostgresError) else error


def refusal(sqlstate: str, schema: str, table: str, column: str, constraint: str) -> Refused:
    """The error of a refused row, which a block in the server has caught."""
    if sqlstate == SKIPPED and table:  # without a table, a trigger has raised it
        return skipped(table)
    error = asyncpg.PostgresError.new({"C": sqlstate, "s": schema, "t": table, "c": column, "n": constraint})
    return Refused(_describe(error, sqlstate, _places(error)), sqlstate, _constraint(error))


def skipped(table: str) -> Refused:
    """A row was not inserted although its id is new, and there was no error."""
    return Refused(f"a trigger on {table} has left the row out, or changed its id ({SKIPPED})", SKIPPED)


def _translate(error: asyncpg.PostgresError, statement: str = "") -> StoreError:
    sqlstate, constraint = error.sqlstate or INTERNAL_ERROR, _constraint(error)
    if sqlstate[:2] in _DATA_CLASSES:
        return Refused(_describe(error, sqlstate, _places(error)), sqlstate, constraint, statement)
    places = [*([f"statement {statement}"] if statement else []), *_places(error)]
    message, cause = _explain(error, sqlstate, places), _CAUSES.get(sqlstate) or _CAUSES.get(sqlstate[:2], Cause.OTHER)
    if _is_raised(error):
        return Objection(message, Cause.REFUSED, sqlstate, constraint)
    if _IS_OUTAGE.match(sqlstate):
        return Unavailable(message + (_IN_FUNCTION if _is_in_function(error) else ""), cause)
    if sqlstate == INTERNAL_ERROR and getattr(error, "server_source_filename", None) in _ABOUT_WORKERS:
        return Unavailable(f"{message}: a worker of the Citus cluster was lost", Cause.CONNECTION)
    return Objection(message, Cause.REFUSED if cause is Cause.OTHER else cause, sqlstate, constraint)


def _is_raised(error: asyncpg.PostgresError) -> bool:
    """Whether RAISE in PL/pgSQL caused the error. Its message may quote a row."""
    return getattr(error, "server_source_function", None) == _RAISE


def _is_in_function(error: asyncpg.PostgresError) -> bool:
    """Whether the error comes from a statement in another PL/pgSQL function. Our own blocks have no name."""
    lines = (getattr(error, "context", None) or "").splitlines()
    return any("PL/pgSQL" in line and "inline_code_block" not in line for line in lines)


def _constraint(error: asyncpg.PostgresError) -> tuple[str, str, str] | None:
    schema, table, name = (getattr(error, part, None) for part in ("schema_name", "table_name", "constraint_name"))
    return (schema, table, name) if schema and table and name else None


def _explain(error: asyncpg.PostgresError, sqlstate: str, places: Sequence[str]) -> str:
    """The problem and the advice, for operators."""
    if _is_raised(error):
        return _describe(error, sqlstate, places)
    if sqlstate == _NOT_ALLOWED:
        return f"{getattr(error, 'message', '')} ({sqlstate}): `ragledger doctor` names the rights that the role lacks"
    if sqlstate[:2] in _ABOUT_THE_SESSION:
        advice = f": correct {DSN}, or the output of {COMMAND}" if sqlstate[:2] == _LOGIN else ""
        return f"{getattr(error, 'message', '')} ({sqlstate}){advice}"
    if sqlstate == _CANCELED:
        limit = "it took longer than RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S allows, or was cancelled"
        return f"{_describe(error, sqlstate, places)}: {limit}"
    if sqlstate == _IDLE:
        return f"PostgreSQL ended the transaction because it was idle for {IDLE_SECONDS:.0f} s ({sqlstate})"
    advice = "; is the schema current? Run `ragledger migrate up`" if sqlstate in _SCHEMA_MISSING else ""
    return f"{_describe(error, sqlstate, places)}{advice}"


def _describe(error: asyncpg.PostgresError, sqlstate: str, places: Sequence[str]) -> str:
    """The kind and place of the error, without its message, which may quote a value."""
    is_known = type(error) is not asyncpg.UnknownPostgresError
    name = type(error).__name__ if is_known else "an SQLSTATE that is not one of PostgreSQL's own"
    return f"{name} ({sqlstate}){': ' + ', '.join(places) if places else ''}"


def _places(error: asyncpg.PostgresError) -> list[str]:
    """The table, column and constraint of the error."""
    return [
        f"{name.removesuffix('_name')} {value}"
        for name in ("table_name", "column_name", "constraint_name")
        if (value := getattr(error, name, None))
    ]
