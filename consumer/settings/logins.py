"""Validates the settings of logins: programs that print tokens, token endpoints, and SASL extensions."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

MECHANISMS_WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER = "OAUTHBEARER"


def arguments_of(command: str) -> Sequence[str]:
    """Split a command into words as a shell does, without expansion.

    :raises ValueError: a quotation mark or a backslash is incomplete, or the command is empty
    """
    words = shlex.split(command)
    if not words:
        raise ValueError("is empty")
    return words


def checked_command(command: str | None) -> str | None:
    """Check the command, and return it.

    :raises ValueError: it cannot be split into words, or the program does not exist. The message quotes no argument.
    """
    if command is None:
        return None
    try:
        program = arguments_of(command)[0]
    except ValueError as error:
        raise ValueError(f"is not a command: {str(error).lower()}") from None
    if "\x00" in command or shutil.which(program) is None:
        raise ValueError("there is no such program, or it must not be executed")
    return command


def checked_endpoint(url: str | None) -> str | None:
    """Check the URL of a token endpoint, and return it.

    :raises ValueError: it is not a URL, would send a secret unencrypted, or contains one
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isprintable() or any(character.isspace() for character in url):
        raise ValueError("must be a URL such as https://login.example/oauth2/token")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("must begin with https://; http:// is allowed on the same machine only")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def extensions_of(text: str | None) -> Mapping[str, str]:
    """Return the names and values of SASL extensions (RFC 7628).

    :raises ValueError: an extension is invalid
    """
    pairs = [pair.strip().partition("=") for pair in (text or "").split(",") if pair.strip()]
    for name, _, value in pairs:
        is_name = name.isascii() and name.isalpha() and name != "auth"
        if not is_name or not value or not value.isascii() or not value.isprintable():
            raise ValueError("must be name=value, comma-separated, each name of letters only and not auth")
    return {name: value for name, _, value in pairs}
