"""Tests splitting SQL files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.admin.migrate.errors import SchemaFilesError
from consumer.admin.migrate.statements import Statement, blocks, split


def cut(sql: str) -> list[str]:
    return [statement.sql for statement in split(sql, "f.sql")]


def grouped(sql: str) -> list[tuple[bool, list[str]]]:
    return [(b.transactional, [s.sql for s in b.statements]) for b in blocks(split(sql, "f.sql"), "f.sql")]


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("", []),
        (" -- nothing;\n/* here; */ ;;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2;\n", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b', 'it''s;', '--';x", ["SELECT 'a;b', 'it''s;', '--'", "x"]),
        ('SELECT "a;""b;";x', ['SELECT "a;""b;"', "x"]),
        (r"SELECT E'\';', e'\\';x", [r"SELECT E'\';', e'\\'", "x"]),
        (r"SELECT '\';x", [r"SELECT '\'", "x"]),
        ("DO $$ BEGIN a; b; END $$;x", ["DO $$ BEGIN a; b; END $$", "x"]),
        ("DO $f$ $$;$$ '; $f$;x", ["DO $f$ $$;$$ '; $f$", "x"]),
        ("SELECT a$b$c;x", ["SELECT a$b$c", "x"]),
        ("SELECT $1;x", ["SELECT $1", "x"]),
        ("a /* ; /* ; */ ; */ b;x", ["a /* ; /* ; */ ; */ b", "x"]),
        ("a -- it's; $$\n b;x", ["a -- it's; $$\n b", "x"]),
        ("CREATE RULE r AS ON x DO (a; b);x", ["CREATE RULE r AS ON x DO (a; b)", "x"]),
        ("SELECT 1::text, 2 <> 3, '{}'::jsonb -> 'a';x", ["SELECT 1::text, 2 <> 3, '{}'::jsonb -> 'a'", "x"]),
    ],
)
def test_split(sql: str, statements: list[str]) -> None:
    """A semicolon ends a statement only if PostgreSQL would read it as an end."""
    assert cut(sql) == statements


def test_split_returns_the_first_line_of_a_statement() -> None:
    """Comments before a statement are not part of it."""
    assert split("\n-- about a\na;\n\n/* b\n */ b\n;", "f.sql") == (Statement("a", 3), Statement("b", 6))


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("SELECT 'a", 1),
        ('\nSELECT "a', 2),
        ("SELECT 1;\nDO $x$ BEGIN", 2),
        ("/* a /* b */", 1),
        ("SELECT 1 \\gexec", 1),
        ("\n\\if true", 2),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", 1),
    ],
)
def test_split_refuses_text_that_it_might_misread(sql: str, line: int) -> None:
    """Unfinished syntax, or syntax that only psql understands, is an error with its line."""
    with pytest.raises(SchemaFilesError, match=f"^f.sql, line {line}: cannot split"):
        split(sql, "f.sql")


QUOTED = st.text(alphabet="a;-/*$ \n", max_size=12)
PIECES = st.one_of(
    QUOTED.map(lambda text: f"'{text}'"),
    QUOTED.map(lambda text: f'"{text}"'),
    QUOTED.map(lambda text: f"$q${text}$q$"),
    st.text(alphabet="a;'$", max_size=12).map(lambda text: f"/*{text}*/"),
    st.text(alphabet="a;'$*/", max_size=12).map(lambda text: f"--{text}\n"),
    st.sampled_from(["a", "b1", "::", " ", "\n", "(c;d)"]),
)


@given(st.lists(st.lists(PIECES, max_size=5), max_size=5))
def test_split_returns_the_statements_that_were_joined(statements: list[list[str]]) -> None:
    """Any statements that are joined by semicolons are split again."""
    whole = [" ".join(["x", *pieces]) for pieces in statements]
    assert cut(";\n".join(whole)) == [statement.rstrip() for statement in whole]


def test_blocks_are_the_files_own_transactions() -> None:
    """The statements between BEGIN and COMMIT are one block; each other statement is a block of its own."""
    sql = "BEGIN; a; b; COMMIT; c; START TRANSACTION; d; END; e"
    assert grouped(sql) == [(True, ["a", "b"]), (False, ["c"]), (True, ["d"]), (False, ["e"])]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("BEGIN; BEGIN; COMMIT", "line 1: BEGIN inside a transaction"),
        ("a;\nCOMMIT", "line 2: COMMIT without BEGIN"),
        ("BEGIN;\na", "line 2: BEGIN without COMMIT"),
        ("BEGIN; ROLLBACK", "line 1: other transaction control"),
        ("BEGIN; SAVEPOINT s; COMMIT", "line 1: other transaction control"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; a; COMMIT", "line 1: other transaction control"),
        ("BEGIN; a; COMMIT AND CHAIN; b; COMMIT", "line 1: other transaction control"),
    ],
)
def test_blocks_refuse_unmatched_transactions(sql: str, problem: str) -> None:
    """Only pairs of BEGIN and COMMIT are accepted."""
    with pytest.raises(SchemaFilesError, match=problem):
        grouped(sql)


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "i"),
        ('create unique index\nconcurrently if not exists "I" ON t (a)', "I"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", None),
        ("CREATE INDEX IF NOT EXISTS i ON t (a)", None),
        ("SELECT 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i'", None),
    ],
)
def test_concurrent_index(sql: str, index: str | None) -> None:
    """A statement names the index that it builds concurrently, if it builds one."""
    assert Statement(sql, 1).concurrent_index == index
