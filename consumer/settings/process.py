"""The names of this process, for the ledger and for audit records."""

from __future__ import annotations

import os
import pwd
import socket


def owner_name() -> str:
    """Return the name of this process in the ledger: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def user_name() -> str:
    """Return the user and the host of this process, for audit records."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user needs no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
