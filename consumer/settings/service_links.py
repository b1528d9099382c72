"""Recognises variables that Kubernetes sets in every container for the services of the namespace.

For a service named ragledger or ragledger-metrics, they begin like settings. They are recognised by name and value
together, so that a misspelt setting is still an error.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_SERVICE = r"RAGLEDGER(?:_+[A-Z0-9]+)*"
_PORT = r"_PORT_\d{1,5}_(?:TCP|UDP|SCTP)"
_HOST_NAME = re.compile(rf"{_SERVICE}(?:_SERVICE_HOST|{_PORT}_ADDR)")
_URL_NAME = re.compile(rf"{_SERVICE}_PORT(?:_\d{{1,5}}_(?:TCP|UDP|SCTP))?")
_NUMBER_NAME = re.compile(rf"{_SERVICE}(?:_SERVICE_PORT(?:_+[A-Z0-9]+)*|{_PORT}_PORT)")
_PROTOCOL_NAME = re.compile(rf"{_SERVICE}{_PORT}_PROTO")
_URL = re.compile(r"(?:tcp|udp|sctp)://(?P<host>.+):(?P<port>\d+)")


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes has set this variable."""
    return (
        bool(_HOST_NAME.fullmatch(name) and _is_address(value))
        or bool(_URL_NAME.fullmatch(name) and _is_url(value))
        or bool(_NUMBER_NAME.fullmatch(name) and _is_port(value))
        or bool(_PROTOCOL_NAME.fullmatch(name) and value in ("tcp", "udp", "sctp"))
    )


def _is_url(value: str) -> bool:
    match = _URL.fullmatch(value)
    return match is not None and _is_address(match["host"]) and _is_port(match["port"])


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdecimal() and 0 < int(value[:9]) <= 65535


def _is_address(value: str) -> bool:
    try:
        ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
