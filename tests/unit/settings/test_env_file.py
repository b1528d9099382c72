"""Tests the env file: assignments, their values, and rejected lines."""

from pathlib import Path

import pytest

from consumer.settings import env_file


def read(tmp_path: Path, content: str | bytes) -> dict[str, str]:
    """Return the assignments of a file."""
    file = tmp_path / "env"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return dict(env_file.read(file))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A = b ", "b"),
        ("export A=b", "b"),
        ("A=b=c", "b=c"),
        ("A=p${HOME}$HOME\\n", "p${HOME}$HOME\\n"),
        ("A=b # c", "b # c"),
        ("A='b c '", "b c "),
        ('A="b\'c"', "b'c"),
        ('A="b"c"', 'b"c'),
        ("A=ü", "ü"),
        ("A=1\nA=2", "2"),
        ("# A=1\n\n  # x\nA=2", "2"),
        ("A=1\r\n", "1"),
        ("\ufeffA=1", "1"),
    ],
)
def test_values_are_literal(tmp_path: Path, line: str, value: str) -> None:
    """Nothing is expanded. One pair of quotes, surrounding blanks, CRLF and a byte order mark are removed."""
    assert read(tmp_path, line) == {"A": value}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RAGLEDGER_KAFKA__SASL_PASSWORD: geheim", "line 2 (RAGLEDGER_KAFKA__SASL_PASSWORD): is not an assignment"),
        ("RAGLEDGER_KAFKA__SASL_PASSWORD geheim", "line 2 (RAGLEDGER_KAFKA__SASL_PASSWORD): is not an assignment"),
        ("geheim", "line 2: is not an assignment"),
        ("2geheim=geheim", "line 2: is not an assignment"),
        ('A="geheim', "line 2 (A): the value begins with a quote"),
        ("A='geheim' # x", "line 2 (A): the value begins with a quote"),
        ("A=geheim\0", "line 2: has a control character"),
        (b"A=geheim\xff", "line 2: is not UTF-8"),
    ],
)
def test_a_line_that_is_not_an_assignment_is_refused(tmp_path: Path, line: str | bytes, said: str) -> None:
    """The message has the line's number and the setting's name, but never the value."""
    with pytest.raises(env_file.EnvFileError) as caught:
        read(tmp_path, b"X=1\n" + (line if isinstance(line, bytes) else line.encode()))
    assert str(caught.value).startswith(said)
    assert "geheim" not in str(caught.value)
