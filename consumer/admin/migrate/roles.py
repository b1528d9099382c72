"""The expected rights of the roles of migration 0008, for `migrate verify` and `doctor`.

ragledger_owner owns the tables, and ragledger_migrator is a member of it; their rights are not grants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from consumer.admin.migrate import expected

OWNER, MIGRATOR, INGEST = "ragledger_owner", "ragledger_migrator", "ragledger_ingest"
READER, COMPLIANCE, DASHBOARDS = "ragledger_reader", "ragledger_compliance", "ragledger_dashboards"
ROLES = (OWNER, MIGRATOR, INGEST, READER, COMPLIANCE, DASHBOARDS)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One privilege on one table, such as SELECT; only on `columns` if there are any."""

    table: str
    privilege: str
    columns: tuple[str, ...] = ()

    def sql(self, role: str) -> str:
        """Return the statement that grants it."""
        return f"GRANT {self._privilege} ON {self.table} TO {role}"

    def revoke_sql(self, role: str) -> str:
        """Return the statement that revokes it."""
        return f"REVOKE {self._privilege} ON {self.table} FROM {role}"

    @property
    def _privilege(self) -> str:
        return f"{self.privilege} ({', '.join(self.columns)})" if self.columns else self.privilege

    def __str__(self) -> str:
        return f"{self._privilege} on {self.table}"


GRANTS: Mapping[str, frozenset[Grant]] = {
    role: frozenset(
        Grant(table, privilege, tuple(columns))
        for table, privileges in tables.items()
        for privilege, columns in privileges.items()
    )
    for role, tables in expected.GRANTS.items()
}
"""Role to exactly the grants that it has."""


def differences(role: str, held: Collection[Grant], tables: Collection[str]) -> tuple[list[Grant], list[Grant]]:
    """Return the grants that a role lacks and those it has in excess; only of existing `tables`."""
    wanted = {grant for grant in GRANTS[role] if grant.table in tables}
    return sorted(wanted.difference(held)), sorted(set(held) - wanted)
