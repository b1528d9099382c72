"""Tests connections that send nothing, or incomplete requests: the HTTP server still answers quickly."""

import resource
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.service import Environment, ServiceProcess, eventually

pytestmark = pytest.mark.timeout(120)

DESCRIPTORS = 512
HALF_OPEN = 700


class FewDescriptors(ServiceProcess):
    """The service with as few descriptors as in a small container."""

    def __enter__(self) -> "FewDescriptors":
        super().__enter__()
        resource.prlimit(self.running.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        return self


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Return the service without Kafka and database; its HTTP server answers while it waits for them."""
    nowhere = Environment("postgresql://127.0.0.1:9/d", "127.0.0.1:9", {})
    with FewDescriptors(nowhere, tmp_path_factory.mktemp("http") / "log") as process:
        eventually(lambda: process.get("/healthz")[0] == 200)
        yield process


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
def test_half_open_connections_block_no_other(service: ServiceProcess, sent: bytes) -> None:
    """There are more of them than descriptors; each answer takes less than a second, and the database can be
    reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * HALF_OPEN), hard))
    try:
        with ExitStack() as opened:
            for _ in range(HALF_OPEN):
                connection = opened.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=5))
                with suppress(OSError):  # it may have been closed in favour of a newer one
                    connection.sendall(sent)
            for path in ("/healthz", "/metrics"):
                started = time.monotonic()
                with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}", timeout=10) as response:
                    assert response.status == 200
                assert time.monotonic() - started < 1.0, path
            assert len(list(Path(f"/proc/{service.running.pid}/fd").iterdir())) < DESCRIPTORS / 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_idle_connection_is_closed(service: ServiceProcess) -> None:
    """It is closed after some seconds, whether it has sent nothing or part of a request."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HT")
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_a_connection_is_reused(service: ServiceProcess) -> None:
    """Two requests use one connection, as Prometheus does."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b'"checks"' not in answer:
                part = connection.recv(65536)
                assert part
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
