"""The parameters of a DSN: those that have an effect, hints for other clients, and ignored ones. PURE."""

from __future__ import annotations

from collections.abc import Mapping

SYSTEM = "system"
"""The value of sslrootcert for the operating system's authorities, as in libpq 16."""
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
# The credentials and the TLS files.
LOGIN = frozenset({"user", "password", "passfile", "sslpassword", *SSL_FILES})
# The parameters that asyncpg understands, and `options`, which the server understands.
UNDERSTOOD = frozenset(
    {
        *("host", "port", "dbname", "database", "user", "password", "passfile", "service", "options"),
        *("sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib", *SSL_FILES),
    }
)
# Parameters of other clients that indicate a pooler in transaction mode, with their values. None: any value.
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
# Parameters without meaning for ragledger: pools, time-outs and names of other clients, and tuning of libpq's
# connections. https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
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
