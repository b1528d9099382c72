"""The parameters of a DSN: what is understood, what is a hint for another client, and what is ignored. PURE."""

from __future__ import annotations

from collections.abc import Mapping

SYSTEM = "system"
"""As the value of sslrootcert: the authorities that the operating system trusts, as in libpq 16."""
VERIFIED = ("verify-ca", "verify-full")
SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
TLS_VERSIONS = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})
_BOOLEANS = frozenset({"true", "false", "1", "0", "on", "off", "yes", "no"})
_TRUE = frozenset({"true", "1", "on", "yes"})
CHOICES: Mapping[str, frozenset[str]] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", *VERIFIED}),
    "target_session_attrs": frozenset({"any", "primary", "standby", "read-write", "read-only", "prefer-standby"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "gsslib": frozenset({"gssapi"}),
    "pgbouncer": _BOOLEANS,
}
SSL_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
# Who logs in, and with what.
LOGIN = frozenset({"user", "password", "passfile", "sslpassword", *SSL_FILES})
# What asyncpg understands, and `options`, which the server does.
UNDERSTOOD = frozenset(
    {
        *("host", "port", "dbname", "database", "user", "password", "passfile", "service", "options"),
        *("sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib", *SSL_FILES),
    }
)
# Hints for other clients that a pooler in transaction mode is in between, as name and values. None: any value.
# Prisma, Supabase and Vercel, SQLAlchemy and asyncpg, JDBC, Rails.
POOLED: Mapping[str, frozenset[str] | None] = {
    "pgbouncer": _TRUE,
    "supa": None,
    "workaround": None,
    "pool_mode": frozenset({"transaction", "statement"}),
    "statement_cache_size": frozenset({"0"}),
    "prepared_statement_cache_size": frozenset({"0"}),
    "prepareThreshold": frozenset({"0"}),
    "prepared_statements": frozenset({"false"}),
}
# What says nothing that matters here: how other clients pool, wait and name themselves, and what of libpq only tunes a
# connection. https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
IGNORED = frozenset(
    {
        *("application_name", "fallback_application_name", "ApplicationName", "client_encoding", "encoding"),
        *("channel_binding", "connect_timeout", "connection_limit", "pool_timeout", "socket_timeout", "max_idle_time"),
        *("pool_size", "pool", "pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time"),
        *("max_connections", "idle_timeout", "reconnect", "uselibpqcompat", "keepalives", "keepalives_count"),
        *("keepalives_idle", "keepalives_interval", "tcp_user_timeout", "tcpKeepAlive", "load_balance_hosts"),
        *("gssencmode", "gssdelegation", "sslcompression", "sslsni", "sslcertmode", "min_protocol_version"),
        *("max_protocol_version", *POOLED),
    }
)
INSTEAD = {
    "ssl": "write sslmode=require or sslmode=verify-full",
    "sslaccept": "write sslmode=verify-full or sslmode=require",
    "hostaddr": "name it as the host",
    "schema": "write options=-csearch_path%3D and the schema",
    "currentSchema": "write options=-csearch_path%3D and the schema",
}
