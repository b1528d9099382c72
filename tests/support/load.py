"""Publishes records in portions during failures, and checks that each was counted once."""

from pathlib import Path
from uuid import UUID

from tests.support.ingestion import Outgoing, counts, dialogues, ids, send, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually


class Load:
    """Publishes dialogues in portions, and checks the result."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._bootstrap = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
        self.published: dict[UUID, Outgoing] = {}

    def publish(self, count: int, **changes: str) -> None:
        """Publish so many more."""
        more = dialogues(self._environment.topics["dialogue"], count, seed=len(self.published), **changes)
        send(self._bootstrap, more.values())
        self.published |= more

    def assert_exact(self, service: ServiceProcess) -> None:
        """Wait for the end; every record must be one row, counted once, and none a dead letter."""
        wait_for_records(self._environment, len(self.published))
        self._environment.assert_caught_up()
        assert counts(self._environment) == {"inserted": len(self.published), "duplicates": 0, "dead": 0}
        assert ids(self._environment) == self.published.keys()
        assert self._environment.value("SELECT count(*) FROM dead_letters") == 0
        service.wait_metric("rag_records_total", len(self.published), outcome="inserted")
        service.wait_metric("rag_dead_letters_total", 0)


def wait_for_retries(service: ServiceProcess, count: int, *, timeout: float = 60.0, **labels: str) -> None:
    """Wait until so many more attempts have failed."""
    wanted = service.metric("rag_write_retries_total", **labels) + count

    def failed() -> bool:
        return service.metric("rag_write_retries_total", **labels) >= wanted

    eventually(failed, timeout=timeout, message=f"{wanted} failed attempts")


def assert_alive_but_not_ready(service: ServiceProcess) -> None:
    """Assert that the process is alive, because a restart would not help, and not ready."""
    service.wait_page("/healthz", 200)
    service.wait_page("/readyz", 503)


def said(log: Path, word: str) -> list[str]:
    """Return the log lines with a name."""
    return [line for line in log.read_text().splitlines() if word in line]
