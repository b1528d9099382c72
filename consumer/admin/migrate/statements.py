"""Splits a SQL file as psql does: into statements, with its own BEGIN and COMMIT.

PostgreSQL runs several statements sent as one string in one implicit transaction, and rejects CREATE INDEX CONCURRENTLY
in it; so the statements are sent one by one. Input that psql would treat in another way (its backslash commands, and
functions with a BEGIN ATOMIC body) is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from consumer.admin.migrate.errors import SchemaFilesError

# The order matters: a quoted text hides everything inside it.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<block> /\* )
    | (?P<quoted>
          \b[eE]'(?: [^'\\] | \\. | '' )*'
        | '[^']*'
        | "[^"]*"
        | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? \$(?P=tag)\$
      )
    | (?P<open> \( )
    | (?P<close> \) )
    | (?P<end> ; )
    | (?P<stray> ['"] | (?<![\w$])\$(?:[^\W\d]\w*)?\$ | \\ | \bBEGIN\s+ATOMIC\b )
    | (?P<word> [^\s\w] | \w+ )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_BEGIN = re.compile(r"(BEGIN|START)(\s+(WORK|TRANSACTION))?", re.IGNORECASE)
_COMMIT = re.compile(r"(COMMIT|END)(\s+(WORK|TRANSACTION))?", re.IGNORECASE)
_OTHER_CONTROL = re.compile(
    r"(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE\s+TRANSACTION)\b", re.IGNORECASE
)
_CONCURRENT_INDEX = re.compile(
    r'CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+("?)(?P<name>\w+)\1', re.IGNORECASE
)
_REFUSAL = re.compile(r"DO\b.*\bRAISE\s+EXCEPTION\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement without its semicolon and the comments before it, and its first line in the file."""

    sql: str
    line: int

    @property
    def concurrent_index(self) -> str | None:
        """The index that a CREATE INDEX CONCURRENTLY IF NOT EXISTS names."""
        match = _CONCURRENT_INDEX.match(self.sql)
        return match["name"] if match else None

    @property
    def is_refusal(self) -> bool:
        """Whether the statement is a DO block that can raise an error."""
        return bool(_REFUSAL.match(self.sql))


@dataclass(frozen=True, slots=True)
class Block:
    """The statements between BEGIN and COMMIT, or one statement outside a transaction."""

    statements: tuple[Statement, ...]
    transactional: bool


def split(sql: str, file: str) -> tuple[Statement, ...]:
    """Split `sql` into its statements. `file` is used in messages.

    :raises SchemaFilesError: an unfinished quote or comment, or syntax that only psql understands
    """
    statements: list[Statement] = []
    start: int | None = None
    depth = 0
    for kind, begin, _end in _tokens(sql, file):
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if kind == "end" and depth == 0:
            statements.extend(_statement(sql, start, begin))
            start = None
        elif kind != "comment" and start is None:
            start = begin
    statements.extend(_statement(sql, start, len(sql)))
    return tuple(statements)


def blocks(statements: tuple[Statement, ...], file: str) -> tuple[Block, ...]:
    """Group the statements by the transactions of the file.

    :raises SchemaFilesError: BEGIN and COMMIT do not match, or the file rolls back
    """
    grouped: list[Block] = []
    current: list[Statement] | None = None
    for statement in statements:
        if _BEGIN.fullmatch(statement.sql):
            _demand(current is None, file, statement, "BEGIN inside a transaction")
            current = []
        elif _COMMIT.fullmatch(statement.sql):
            _demand(current is not None, file, statement, "COMMIT without BEGIN")
            grouped.append(Block(tuple(current or ()), transactional=True))
            current = None
        else:
            _demand(not _OTHER_CONTROL.match(statement.sql), file, statement, "other transaction control")
            _place(statement, current, grouped)
    if current is not None:
        _demand(False, file, statements[-1], "BEGIN without COMMIT")
    return tuple(grouped)


def _place(statement: Statement, current: list[Statement] | None, grouped: list[Block]) -> None:
    if current is None:
        grouped.append(Block((statement,), transactional=False))
    else:
        current.append(statement)


def _tokens(sql: str, file: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    while match := _TOKEN.search(sql, position):
        kind, position = match.lastgroup or "", match.end()
        if kind == "block":
            kind, position = "comment", _block_end(sql, match.start(), file)
        elif kind == "stray":
            _refuse(sql, match.start(), file, match.group())
        yield kind, match.start(), position


def _block_end(sql: str, start: int, file: str) -> int:
    """Return the end of a block comment; block comments nest."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return _refuse(sql, start, file, "/*")


def _refuse(sql: str, start: int, file: str, what: str) -> int:
    line = sql.count("\n", 0, start) + 1
    raise SchemaFilesError(
        f"{file}, line {line}: cannot split the file at {what.strip()!r}: an unfinished quote or comment, a"
        " psql command, or a BEGIN ATOMIC body. Finish the quote or comment; write the others as plain SQL."
    )


def _statement(sql: str, start: int | None, end: int) -> Iterator[Statement]:
    if start is not None and start < end:
        yield Statement(sql[start:end].rstrip(), sql.count("\n", 0, start) + 1)


def _demand(held: bool, file: str, statement: Statement, problem: str) -> None:
    if not held:
        raise SchemaFilesError(f"{file}, line {statement.line}: {problem}. Write pairs of BEGIN and COMMIT only.")
