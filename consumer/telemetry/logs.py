"""Logging: structlog for us, and the libraries' own loggers kept from flooding it. The only importer of logging."""

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

# aiokafka says the same line hundreds of times a second while a broker is away.
QUIET_SECONDS = 30.0
REMIND_SECONDS = 3600.0
_MOST_REMEMBERED = 1000


@dataclass(slots=True)
class _Repeated:
    """A line that comes again and again: when it was let through, when it was last seen, how many were held back."""

    said: float
    seen: float
    held: int = 0


class OncePerOutage(logging.Filter):
    """Lets a line of a library through once, until nobody has said it for a while, or for very long.

    It then has the number of those held back. Each is counted, held back or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[tuple[str, str], _Repeated] = {}
        self.count: Callable[[], None] = lambda: None

    def forget(self) -> None:
        """Begin anew."""
        self._lines.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold a repeated line back."""
        self.count()
        key, now = (record.name, str(record.msg)), time.monotonic()
        line = self._lines.get(key)
        if line is not None and now - line.seen < QUIET_SECONDS and now - line.said < REMIND_SECONDS:
            line.seen, line.held = now, line.held + 1
            return False
        if len(self._lines) >= _MOST_REMEMBERED:
            self._lines.clear()
        self._lines[key] = _Repeated(now, now)
        if line is not None and line.held:
            record.msg = f"{record.msg} (and {line.held} times more)"
        return True


_once = OncePerOutage()


def count_library_lines(count: Callable[[], None]) -> None:
    """Have each warning and error of a library counted, also those that nobody gets to see."""
    _once.count = count


def configure(settings: Log, *, libraries: bool = True) -> None:
    """Send everything to standard error, for people or for machines.

    :param libraries: whether the libraries' own warnings are let through
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
    """Keep the libraries silent: a command says itself, in one line, what is wrong."""
    logging.basicConfig(level=logging.CRITICAL, force=True)


def _renderers(settings: Log) -> list[Any]:
    """For people a plain traceback; for machines one line. Neither shows what variables hold, which is event text."""
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
    """The HTTP server is up."""
    _log.info("listening", http=f"http://{host}:{port}")


def ignored(what: str) -> None:
    """Something was given that changes nothing."""
    _log.info("ignored", what=what)


def stopped() -> None:
    """Everything held was written."""
    _log.info("stopped")


def shutdown_timed_out(seconds: float) -> None:
    """Stopping took too long."""
    _log.error("shutdown_timed_out", seconds=seconds, then="what was not written is read again at the next start")
