"""A COPY that takes its time: long rows that the server takes in slowly, so that it can be met in the middle."""

from tests.support.psql import execute
from tests.support.service import Environment, eventually

# More than the buffers between client and server hold, so that either of them has to wait for the other.
LONG_TEXT = "Zwölf Monate, sofern nichts anderes vereinbart ist. " * 400
# A trigger before each row would have the rows merged instead of copied.
SLOW_ROWS = (
    "CREATE FUNCTION slow(uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN true; END'",
    "ALTER TABLE ai_dialogue_log ADD CONSTRAINT slow CHECK (slow(id)) NOT VALID",
)
_COPYING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY %'
"""


def make_slow(environment: Environment) -> None:
    """A millisecond for each row of ai_dialogue_log."""
    execute(environment.dsn, *SLOW_ROWS)


def wait_for_copy(environment: Environment) -> None:
    """Wait until rows are on their way."""
    eventually(lambda: environment.value(_COPYING) > 0, message="a COPY is under way")


def wait_for_silence(environment: Environment) -> None:
    """Wait until the server has taken in everything that was sent, and waits for more."""
    waiting = f"{_COPYING} AND wait_event = 'ClientRead'"
    eventually(lambda: environment.value(waiting) > 0, timeout=10, message="the server waits for its client")
