"""Tests finding and reading the schema files."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.admin.migrate.errors import SchemaFilesError
from consumer.admin.migrate.files import load, schema_directory

SQL = "BEGIN;\nSELECT 1;\nCOMMIT;\n"


def write(directory: Path, **files: str) -> None:
    for name, content in files.items():
        (directory / f"{name}.sql").write_text(content)


def test_load_reads_pairs_in_order(tmp_path: Path) -> None:
    """Each version has its file, its rollback, and the checksum of the file."""
    write(tmp_path, **dict.fromkeys(("rollback_0010_b", "0010_b", "0002_a", "rollback_0002_a"), SQL))
    (tmp_path / "README.md").write_text("not SQL")
    first, second = load(tmp_path)
    assert (first.version, first.name, first.rollback.file) == (2, "0002_a", "rollback_0002_a.sql")
    assert (second.version, second.forward.file) == (10, "0010_b.sql")
    assert first.forward.checksum == hashlib.sha256(SQL.encode()).hexdigest()
    assert first.forward.statements == ("SELECT 1",)


def test_load_reads_what_a_file_requires(tmp_path: Path) -> None:
    """A line in the head of a file names the tables without which it is skipped."""
    write(tmp_path, **{"0002_a": f"-- ragledger: requires-tables users, materials\n{SQL}", "rollback_0002_a": SQL})
    assert load(tmp_path)[0].requires == ("users", "materials")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["0002_a"], "0002_a must have both"),
        (["rollback_0002_a"], "0002_a must have both"),
        (["0002_a", "rollback_0002_a", "0002_b", "rollback_0002_b"], "two files have version 0002"),
        (["2_a"], "2_a.sql: name it"),
        (["0002_A"], "0002_A.sql: name it"),
    ],
)
def test_load_refuses_names_without_a_version(tmp_path: Path, names: list[str], problem: str) -> None:
    """A file that would be ignored, or run in an unclear order, is an error."""
    write(tmp_path, **dict.fromkeys(names, SQL))
    with pytest.raises(SchemaFilesError, match=problem):
        load(tmp_path)


def test_load_refuses_a_file_without_statements(tmp_path: Path) -> None:
    """An empty file is a mistake."""
    write(tmp_path, **{"0002_a": "-- to do\n", "rollback_0002_a": SQL})
    with pytest.raises(SchemaFilesError, match=r"0002_a\.sql: the file contains no statement"):
        load(tmp_path)


def test_our_files() -> None:
    """The files of the package can be read. Only 0003 has statements outside transactions."""
    migrations = load(schema_directory())
    assert [migration.name for migration in migrations][:5] == [
        "0002_add_rag_metrics",
        "0003_optimize_rag_indexes",
        "0004_add_foreign_keys",
        "0005_add_ingest_ledger",
        "0006_widen_daily_costs",
    ]
    assert {m.version: m.requires for m in migrations if m.requires} == {4: ("users", "materials")}
    outside = {m.version: [b for b in m.forward.blocks if not b.transactional] for m in migrations}
    assert [len(blocks) for version, blocks in outside.items() if version == 3] == [8]
    alone = [block.statements[0] for blocks in outside.values() for block in blocks]
    assert all(one.concurrent_index or "COMMIT;" in one.sql for one in alone), (
        "files with statements outside transactions"
    )
    assert all(block.transactional for migration in migrations for block in migration.rollback.blocks)


def test_the_linter_reports_nothing() -> None:
    """Squawk finds no migration that locks a table in use for long."""
    squawk = Path(sys.executable).with_name("squawk")
    files = sorted(map(str, schema_directory().glob("*.sql")))
    done = subprocess.run([squawk, *files], capture_output=True, text=True, cwd=schema_directory().parent, check=False)
    assert done.returncode == 0, done.stdout
