"""Settings that our SQL relies on and that an owner may have changed for the database or the role.

They are set in each transaction, because a pooler may give each transaction another session.
"""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    "quote_all_identifiers": "off",  # names are read from the catalog as text
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "row_security": "on",  # if it is off, every query under a policy fails
    "plpgsql.extra_errors": "none",
    # Citus tests each row of pg_class whether it is a shard, which it would hide. The client's query about types, once
    # for each connection, then takes seconds. Without Citus, the setting has no meaning.
    "citus.override_table_visibility": "off",
}


def set_local(settings: Mapping[str, str]) -> str:
    """A statement with these settings for the rest of the transaction."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
