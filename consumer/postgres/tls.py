"""TLS to PostgreSQL: options that asyncpg does not support, and messages about certificates."""

from __future__ import annotations

import ssl
from typing import Any

from consumer.settings import dsn as dsns

_EXPIRED = 10
_OTHER_NAME = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


def tls_options(dsn: dsns.Dsn) -> dict[str, Any]:
    """Options for asyncpg besides the DSN, because asyncpg reads `sslrootcert=system` as a file name."""
    if not dsn.trusts_system:
        return {}
    given = dsn.parameters
    context = ssl.create_default_context()
    if "sslcert" in given:
        context.load_cert_chain(given["sslcert"], given.get("sslkey"), lambda: given.get("sslpassword", ""))
    context.minimum_version = _version(given.get("ssl_min_protocol_version", "TLSv1.2"))
    if "ssl_max_protocol_version" in given:
        context.maximum_version = _version(given["ssl_max_protocol_version"])
    context.set_alpn_protocols(["postgresql"])
    return {"ssl": context}


def _version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]


def certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """The reason why the certificate was not accepted, and the advice."""
    if error.verify_code in _OTHER_NAME:
        advice = "connect by a name that is in the certificate"
    elif error.verify_code == _EXPIRED:
        advice = "renew it"
    else:
        advice = "name the authority that signed it with sslrootcert= in the DSN"
    return f"the server's certificate is not accepted: {error.verify_message.rstrip('.')}: {advice}"
