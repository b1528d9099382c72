"""Tests which errors of a Citus cluster are outages, and which are about rows."""

import asyncpg
import pytest

from consumer.ingest.ports import Cause, Unavailable
from consumer.postgres.errors import INTERNAL_ERROR, Objection, translated_errors
from consumer.postgres.insert import InsertStrategy


def raised(source: str) -> Exception:
    """Return our error for an internal error that a C file has reported."""
    error = asyncpg.PostgresError.new({"C": INTERNAL_ERROR, "M": "failure on connection", "F": source})
    with pytest.raises(Unavailable) as caught, translated_errors("-- name: merge\n"):
        raise error
    return caught.value


def test_a_lost_worker_is_an_outage() -> None:
    """Citus reports it as an internal error. A caller that isolates rows does not see it as an objection."""
    error = raised("remote_transaction.c")
    assert type(error) is Unavailable
    assert error.cause is Cause.CONNECTION


@pytest.mark.parametrize("source", ["multi_copy.c", "elog.c"])
def test_an_internal_error_of_a_copy_may_be_about_a_row(source: str) -> None:
    """The next strategy is MERGE, in which Citus reports the error's own SQLSTATE."""
    error = raised(source)
    assert isinstance(error, Objection)
    assert InsertStrategy.DIRECT.after(error) is InsertStrategy.MERGE
    assert InsertStrategy.MERGE.after(error) is InsertStrategy.SPLIT
