"""Imports aiohttp without the certificate authorities of the operating system.

aiohttp is also an HTTP client, and loads the authorities twice when it is imported, which takes a tenth of the CPU of a
start. The server needs none, and :mod:`consumer.credentials.oidc` makes a TLS context of its own.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_authorities() -> Iterator[None]:
    """Leave the TLS contexts that are made here without authorities."""
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # the inherited method is in force again


with _no_authorities():
    from aiohttp import web

__all__ = ["web"]
