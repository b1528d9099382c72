"""Logging with structlog. Limits the output of libraries. The only module that imports logging."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from consumer.settings.model import Log

_log = structlog.get_logger("ragledger")

# While a broker is unavailable, aiokafka logs the same line hundreds of times a second.
QUIET_SECONDS = 30.0
REMIND_SECONDS = 3600.0
_MOST_REMEMBERED = 1000


@dataclass(slots=True)
class _Repeated:
    """A repeated line: when it was last logged, when it last occurred, and how many times it was suppressed since."""

    logged: float
    seen: float
    suppressed: int = 0


class OncePerOutage(logging.Filter):
    """Logs a repeated line of a library once, and again after a pause, or after an hour.

    The line then states how many repetitions were suppressed. Every line is counted, suppressed or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[tuple[str, str], _Repeated] = {}
        self.count: Callable[[], None] = lambda: None

    def forget(self) -> None:
        """Forget all earlier lines."""
        self._lines.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a repeated line."""
        self.count()
        key, now = (record.name, str(record.msg)), time.monotonic()
        line = self._lines.get(key)
        if line is not None and now - line.seen < QUIET_SECONDS and now - line.logged < REMIND_SECONDS:
            line.seen, line.suppressed = now, line.suppressed + 1
            return False
        if len(self._lines) >= _MOST_REMEMBERED:
            self._lines.clear()
        self._lines[key] = _Repeated(now, now)
        if line is not None and line.suppressed:
            record.msg = f"{record.msg} (and {line.suppressed} more times)"
        return True


_once = OncePerOutage()


def count_library_lines(count: Callable[[], None]) -> None:
    """Set a callback for each warning and error of a library, including suppressed ones."""
    _once.count = count


def configure(settings: Log, *, libraries: bool = True) -> None:
    """Configure logging to standard error, for people or for machines.

    :param libraries: whether warnings of libraries are logged
    """
    level = logging.getLevelNamesMapping()[settings.level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(settings),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _configure_libraries(settings, max(level, logging.WARNING if libraries else logging.CRITICAL))


def quiet_libraries() -> None:
    """Silence the libraries; a command reports an error itself, in one line."""
    logging.basicConfig(level=logging.CRITICAL, force=True)


def _renderers(settings: Log) -> list[Any]:
    """Return renderers: a plain traceback for people, one line for machines. Neither shows variables (event text)."""
    on_terminal = sys.stderr.isatty()
    if settings.format == "console" or (settings.format == "auto" and on_terminal):
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _configure_libraries(settings: Log, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    _once.forget()
    handler.addFilter(_once)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)


def listening(host: str, port: int) -> None:
    """Log the address of the HTTP server."""
    _log.info("listening", http=f"http://{host}:{port}")


def ignored(what: str) -> None:
    """Log a setting that has no effect."""
    _log.info("ignored", what=what)


def stopped() -> None:
    """Log the end of the service; everything was written."""
    _log.info("stopped")


def shutdown_timed_out(seconds: float) -> None:
    """Log that stopping took too long."""
    _log.error("shutdown_timed_out", seconds=seconds, then="unwritten records are read again at the next start")
