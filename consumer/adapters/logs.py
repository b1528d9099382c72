"""Logging: structlog for us, and the libraries' own loggers kept from flooding it. The only importer of logging."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import structlog

from consumer.settings import Log

_log = structlog.get_logger("ragledger")

# aiokafka says the same line hundreds of times a second while a broker is away.
REPEAT_SECONDS = 30.0
_MOST_REMEMBERED = 1000


class OncePerOutage(logging.Filter):
    """Lets a line of a library through once per :data:`REPEAT_SECONDS`, with the number of those held back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold a repeated line back."""
        key, now = (record.name, str(record.msg)), time.monotonic()
        since, held = self._seen.get(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._seen[key] = (since, held + 1)
            return False
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if held:
            record.msg = f"{record.msg} (and {held} times more)"
        return True


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
    handler.addFilter(OncePerOutage())
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


def stopped() -> None:
    """Everything held was written."""
    _log.info("stopped")


def shutdown_timed_out(seconds: float) -> None:
    """Stopping took too long."""
    _log.error("shutdown_timed_out", seconds=seconds, then="what was not written is read again at the next start")
