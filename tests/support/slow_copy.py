"""A slow COPY: long rows that the server reads slowly, so that a test can act in the middle."""

from tests.support.psql import execute
from tests.support.service import Environment, eventually

# The rows exceed the buffers of client and server, so that one has to wait for the other.
LONG_TEXT = "Zwölf Monate, sofern nichts anderes vereinbart ist. " * 400
# With a trigger before each row, rows would be merged instead of copied.
SLOW_ROWS = (
    "CREATE FUNCTION slow(uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN true; END'",
    "ALTER TABLE ai_dialogue_log ADD CONSTRAINT slow CHECK (slow(id)) NOT VALID",
)
_COPYING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY %'
"""


def make_slow(environment: Environment) -> None:
    """Add a millisecond for each row of ai_dialogue_log."""
    execute(environment.dsn, *SLOW_ROWS)


def wait_for_copy(environment: Environment) -> None:
    """Wait until rows are being sent."""
    eventually(lambda: environment.value(_COPYING) > 0, message="a COPY is under way")


def wait_for_silence(environment: Environment) -> None:
    """Wait until the server has read everything that was sent, and waits for more."""
    waiting = f"{_COPYING} AND wait_event = 'ClientRead'"
    eventually(lambda: environment.value(waiting) > 0, timeout=10, message="the server waits for its client")
