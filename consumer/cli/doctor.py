"""`doctor`."""

from __future__ import annotations

from dataclasses import asdict

from consumer.admin.doctor import Report, Severity, examine
from consumer.cli.output import Exit, Json, command, out, print_json, print_table, progress
from consumer.settings.model import load

LABELS = {Severity.ERROR: "MUST", Severity.WARNING: "should", Severity.NOTE: "note", Severity.OK: "ok"}


@command
async def doctor(as_json: Json = False) -> Exit:
    """Check Kafka, PostgreSQL, the schema, the role, the settings and the ledger, and say what to do.

    Changes nothing. Exit code 3 if something must be fixed.
    """
    settings = load()
    with progress() as bar:
        task = bar.add_task("checking", total=None)
        found = await examine(settings, lambda name: bar.update(task, description=name))
    if as_json:
        print_json({"ok": found.holds, "findings": [asdict(finding) for finding in found.findings]})
    else:
        print_report(found)
    return Exit.DONE if found.holds else Exit.CHECK_FAILED


def print_report(found: Report) -> None:
    """Print the findings as a table, worst first; then each fix on one line, ready to copy."""
    print_table(
        "Doctor", ("", "check", "found"), [(LABELS[one.severity], one.check, one.found) for one in found.findings]
    )
    for one in found.findings:
        if one.fix:
            out.print(f"{LABELS[one.severity]:>6}  {one.check}: {one.fix}", markup=False, soft_wrap=True)
    todo = sum(one.severity is Severity.ERROR for one in found.findings)
    out.print(f"\n{todo} findings must be fixed." if todo else "\nNothing must be fixed.")
