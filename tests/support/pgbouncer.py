"""A real PgBouncer in transaction mode in front of a PostgreSQL."""

import os
import pwd
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from consumer.devstack import Workspace
from consumer.devstack.postgres import UNPRIVILEGED_USER
from consumer.devstack.server import Server, free_ports, silent
from tests.support.roles import as_role

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = postgres
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
"""


class PgBouncer(Server):
    """Debian's PgBouncer; each transaction gets any free connection of its few."""

    def __init__(self, workspace: Workspace, server: str, *, pool_size: int = 4) -> None:
        if shutil.which("pgbouncer") is None:
            pytest.skip("pgbouncer is not installed")
        super().__init__(workspace, "pgbouncer", silent)
        self.port = free_ports(1)[0]
        self.user = UNPRIVILEGED_USER if os.geteuid() == 0 else None  # it refuses to run as root
        self._server_port, self._pool_size = urlsplit(server).port, pool_size
        self._directory = workspace.directory / "bouncer"

    def dsn(self, direct: str) -> str:
        """Return the DSN of the same database and role through the pooler."""
        parts = urlsplit(direct)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def admit(self, role: str) -> None:
        """Allow a role that was created after the start."""
        with self._users.open("a") as users:
            users.write(f'"{role}" ""\n')
        self.console("RELOAD")

    def console(self, command: str) -> list[tuple[object, ...]]:
        """Run a command on its admin console."""
        dsn = as_role(f"postgresql://postgres@127.0.0.1:{self.port}/pgbouncer", "postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = psycopg.ClientCursor(connection)
            cursor.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def _users(self) -> Path:
        return self._directory / "users.txt"

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o755)
        self._users.write_text('"postgres" ""\n')
        text = CONFIGURATION.format(
            server_port=self._server_port, port=self.port, users=self._users, pool_size=self._pool_size
        )
        (self._directory / "pgbouncer.ini").write_text(text)
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)

    def _command(self) -> list[str | Path]:
        return ["/usr/sbin/pgbouncer", self._directory / "pgbouncer.ini"]

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
