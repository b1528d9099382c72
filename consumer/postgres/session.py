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
}


def set_local(settings: Mapping[str, str]) -> str:
    """A statement with these settings for the rest of the transaction."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
