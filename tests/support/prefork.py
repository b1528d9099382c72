"""Starts Python programs by forking: `python -m tests.support.prefork FD`, used by `tests.support.program`.

For a command, importing the libraries and ragledger needs more CPU than its work, and the tests run a thousand
commands. This process imports them once, except the command line. Each program imports the command line in its own
process, with its own arguments, environment and standard streams. Tests of starting and of the wheel run `python -m
consumer` without this.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import consumer

LIBRARIES = (
    "aiohttp.web",
    "aiokafka",
    "asyncpg",
    "msgspec",
    "prometheus_client",
    "pydantic",
    "rich.progress",
    "rich.table",
    "structlog",
    "tenacity",
    "typer.rich_utils",
    "uvloop",
    "yaml",
)
LONGEST_REQUEST = 1 << 20


def next_request(control: socket.socket) -> dict[str, Any] | None:
    """Serve requests. Return in each new process the module to run; return None in the server when all clients
    have left.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # do not wait for processes that watch
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LONGEST_REQUEST, 4)
        if not message:
            return None
        if os.fork() == 0:
            control.close()
            connection, *streams = descriptors
            return begin(json.loads(message), socket.socket(fileno=connection), streams)
        for descriptor in descriptors:
            os.close(descriptor)


def begin(request: dict[str, Any], connection: socket.socket, streams: list[int]) -> dict[str, Any]:
    """Fork again: the parent watches and ends, the child returns to run the program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        watch(pid, connection)
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    return request


def watch(pid: int, connection: socket.socket) -> None:
    """Report the pid and later the exit code; kill the process if the client has left."""
    connection.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    readable, _, _ = select.select([connection.fileno(), ended], [], [])
    if connection.fileno() in readable:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def main() -> None:
    """Import, serve, and run the requested module in each new process."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        import_module(name)
    # Compile once in a run, even if the environment forbids writing bytecode into the source tree.
    sys.pycache_prefix, sys.dont_write_bytecode = str(Path(tempfile.gettempdir()) / "bytecode"), False
    for module in walk_packages(consumer.__path__, "consumer."):
        if not module.name.startswith(("consumer.__main__", "consumer.cli")):  # they read the environment
            import_module(module.name)
    gc.freeze()  # otherwise each process would copy all of it when it collects garbage
    if request := next_request(control):
        sys.argv = ["", *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
