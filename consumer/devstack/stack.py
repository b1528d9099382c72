"""Kafka and PostgreSQL side by side in one workspace."""

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
    """An embedded Kafka and PostgreSQL, started side by side; leaves no process and no file behind.

    A context manager, synchronous or asynchronous, for one use. A cancelled start gives up at once.
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
        """Make the workspace and choose ports; no server is started.

        `progress` is called with short messages for a person, from other threads.

        Raises:
            EmbeddedError: that version of PostgreSQL is not installed.
        """
        self._workspace = Workspace()
        try:
            # Chosen together, or one could be given out twice.
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
        """Where Kafka's clients connect, as `host:port`."""
        return self.kafka.bootstrap_servers

    @property
    def dsn(self) -> str:
        """The DSN of the database `ragledger`, for the superuser."""
        return self.postgres.dsn

    @property
    def directory(self) -> Path:
        """Where the servers keep data and logs until the stack stops."""
        return self._workspace.directory

    def start(self) -> None:
        """Start both and wait until they take clients; where one fails, nothing of the other stays either.

        Raises:
            EmbeddedError: a server could not be prepared or started, with the last lines of its log.
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
                # The first failure is the cause; the other one is only told to give up.
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
            # At once and without a checkpoint, as a kill, but it sees to its children and its shared memory.
            self.postgres.stop(signal.SIGQUIT)
        finally:
            self._workspace.close()

    def abort(self) -> None:
        """Make a `start` that runs in another thread give up with an `EmbeddedError`."""
        self.kafka.abort()
        self.postgres.abort()

    def check(self) -> None:
        """Raise where a server has ended by itself; meant to be called now and then while the stack is up.

        Raises:
            EmbeddedError: which one, with the last lines of its log.
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
