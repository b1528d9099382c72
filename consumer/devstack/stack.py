"""Kafka and PostgreSQL in one workspace."""

import asyncio
import signal
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from consumer.devstack.kafka import KafkaNode
from consumer.devstack.postgres import BUNDLED_VERSION, PostgresServer
from consumer.devstack.server import Progress, free_ports, silent
from consumer.devstack.workspace import Workspace


class Stack:
    """An embedded Kafka and PostgreSQL, started at the same time. It leaves no process and no file behind.

    A synchronous or asynchronous context manager for one use. A cancelled start ends at once.
    """

    def __init__(
        self,
        *,
        postgres_version: int = BUNDLED_VERSION,
        durable: bool = True,
        kafka_properties: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> None:
        """Create the workspace and choose ports; no server is started.

        `progress` is called with short messages for people, from other threads.

        Raises:
            EmbeddedError: this version of PostgreSQL is not installed.
        """
        self._workspace = Workspace()
        try:
            # Chosen in one call; two calls could return the same port.
            broker_port, controller_port, postgres_port = free_ports(3)
            self.kafka = KafkaNode(
                self._workspace,
                ports=(broker_port, controller_port),
                properties=kafka_properties,
                progress=progress,
            )
            self.postgres = PostgresServer(
                self._workspace,
                port=postgres_port,
                version=postgres_version,
                durable=durable,
                settings=postgres_settings,
                progress=progress,
            )
        except BaseException:
            self._workspace.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """Address for Kafka clients, as `host:port`."""
        return self.kafka.bootstrap_servers

    @property
    def dsn(self) -> str:
        """DSN of the database `ragledger`, for the superuser."""
        return self.postgres.dsn

    @property
    def directory(self) -> Path:
        """Directory of data and logs until the stack stops."""
        return self._workspace.directory

    def start(self) -> None:
        """Start both and wait until they accept clients. If one fails, the other is removed too.

        Raises:
            EmbeddedError: a server could not be prepared or started; the message has the last lines of its log.
        """
        try:
            self._start_both()
        except BaseException:
            self.stop()
            raise

    def _start_both(self) -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            starts = [pool.submit(self.kafka.start), pool.submit(self.postgres.start)]
            try:
                ended, _ = wait(starts, return_when=FIRST_EXCEPTION)
                # The first failure is the cause; the other start is then cancelled.
                for start in ended:
                    start.result()
            except BaseException:
                self.abort()
                raise

    def stop(self) -> None:
        """End both and remove the directory; a second call does nothing.

        Raises:
            EmbeddedError: PostgreSQL did not stop and was killed.
            TimeoutError: a process survives SIGKILL.
            OSError: the directory cannot be removed.
        """
        try:
            # SIGQUIT skips the checkpoint, but PostgreSQL still ends its children and frees its shared memory.
            self.postgres.stop(signal.SIGQUIT)
        finally:
            self._workspace.close()

    def abort(self) -> None:
        """Make a `start` in another thread end with an `EmbeddedError`."""
        self.kafka.abort()
        self.postgres.abort()

    def check(self) -> None:
        """Raise if a server has ended unexpectedly; call it regularly while the stack runs.

        Raises:
            EmbeddedError: a server has ended; the message names it and has the last lines of its log.
        """
        self.kafka.check()
        self.postgres.check()

    def __enter__(self) -> Self:
        """Start both."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start both without blocking the event loop."""
        start = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.wait([start])
        except asyncio.CancelledError:
            self.abort()
            await asyncio.gather(start, return_exceptions=True)
            self.stop()
            raise
        start.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both."""
        await asyncio.to_thread(self.stop)
