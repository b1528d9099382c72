"""Values that have broken decoders, each as its exact JSON text: times, numbers, texts, ids, and JSON in JSON.

Texts contain the canary, so that every description of an event can be searched for it. A character from U+DC80 to
U+DCFF stands for a byte that is not UTF-8 (Python's surrogateescape).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

CANARY = "Kanarienvogel7"

_DAY = "2026-01-31"
_FIRST, _LAST = "0001-01-01", "9999-12-31"
# The fast lane joins times with `","`: these values look like two times, half a time, or none.
_JOINED = [
    f'{_DAY}T09:30:00Z","{_DAY}T09:30:00Z',
    f'{_DAY}T09:30:00Z"',
    f'"{_DAY}T09:30:00Z',
    f'{_DAY}T09:30:00Z",',
    f'{_DAY}T09:30:00Z","',
    f'","{_DAY}T09:30:00Z',
    f"{_DAY}T09:30:00Z,{_DAY}T09:30:00Z",
    '","',
    '"',
    ",",
    "",
    "\\",
    "\\u0022",
    "]",
    "null",
    '"]',
]
_EDGES = [
    *(f"{_FIRST}T00:00:00{offset}" for offset in ("", "Z", "+00:00", "-00:00", "+00:01", "-00:01", "+23:59", "-23:59")),
    *(f"{_LAST}T23:59:59{offset}" for offset in ("", "Z", "+00:00", "-00:01", "+00:01", "-23:59", "+23:59", "-00:00")),
    *(f"{_LAST}T23:59:59.{digits}Z" for digits in ("9", "999999", "9999994", "9999995", "9999999")),
    "0000-12-31T23:59:59-00:01",
    "0002-01-01T00:00:00+23:59",
    "9998-12-31T23:59:59-23:59",
    "10000-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999999Z",
    "2000-01-01T00:00:00Z",
    "1969-12-31T23:59:59.5Z",
    # "9999-" as a fraction and an offset, not as a year.
    f"{_DAY}T09:30:00.9999-00:00",
    f"{_DAY}T09:30:00.9999-11:30",
]
_FORMS = [
    *(f"{_DAY}T09:30:00.{'123456789012'[:digits]}Z" for digits in range(1, 13)),
    f"{_DAY}t09:30:00z",
    f"{_DAY} 09:30:00",
    f"{_DAY}T09:30:00+09:00",
    f"{_DAY}T09:30:00 +09:00",
    f"{_DAY}T09:30:00+0900",
    f"{_DAY}T09:30:00+09",
    f"{_DAY}T09:30:00+24:00",
    f"{_DAY}T09:30:00+00:60",
    f"{_DAY}T09:30:00ZZ",
    f"{_DAY}T09:30Z",
    f"{_DAY}T09:30",
    f"{_DAY} 18:30+0900",
    f"{_DAY}T09:30.5Z",
    f"{_DAY}T09:30:00.5-1130",
    f"{_DAY}T09:30:00.Z",
    f"{_DAY}T23:59:60Z",
    f"{_DAY}T24:00:00Z",
    f"{_DAY}T09:60:00Z",
    f"{_DAY}  09:30:00Z",
    f" {_DAY}T09:30:00Z",
    f"{_DAY}T09:30:00Z\n",
    f"{_DAY}T09:30:00Z\0",
    f"{_DAY}T09:30:00\u2028Z",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2026-1-31T09:30:00Z",
    "+2026-01-31T09:30:00Z",
    "\u0662\u0660\u0662\u0666-01-31T09:30:00Z",
    "\uff12\uff10\uff12\uff16-01-31T09:30:00Z",
    _DAY,
    "now",
    "infinity",
    "1767225600",
]
TIMES = [json.dumps(text) for text in (*_JOINED, *_EDGES, *_FORMS)]

# fmt: off
NUMBERS = [
    "0", "-0", "0.0", "-0.0", "0e0", "-0e-9", "1", "-1", "2", "7", "100", "1.0", "1.00", "10e-1", "1E2", "1e-2",
    "1e+2", "0.5", "0.005", "0.0049999999999999999999", "0.995", "99.995", "0.99999999999999999999", "2147483647",
    "2147483648", "-2147483648", "2147483647.4999", "2147483647.5", "999999.99", "999999.994", "999999.995",
    "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e18", "1e19", "1e22", "1e308", "1e309",
    "1e400000", "-1e400", "1e-400", "1e-400000", "0e-999999999", "1e999999999", "1e-999999999",
    "1e99999999999999999999", "1e-99999999999999999999", "1.0000001", "1.0000005", "-1e-9", "-0.0000005",
    "-1e99999999999999999999", "0e99999999999999999999", "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890",
    "9" * 400, "9" * 5000, "0." + "0" * 400 + "1", "1" + "0" * 130,
]
# fmt: on
# These look like numbers but are none.
_LIKE_NUMBERS = ["01", "1.", ".5", "+1", "0x1F", "1_0", "NaN", "Infinity", "-Infinity", "1e", "--1", "1 2"]
QUOTED_NUMBERS = [json.dumps(number) for number in (*NUMBERS, *_LIKE_NUMBERS, " 1", "1 ", "\uff11\uff12", "1\0", "")]

CONTROLS = "\x1b[31mred\x1b[0m\x1b]0;title\x07\r\n\t\x08\x7f\x9b2J\u202e\u2028"
TEXTS = [
    json.dumps(text)
    for text in (
        CANARY,
        CANARY + "\0",
        "\0",
        CANARY + "\ud800",
        "\udc00" + CANARY,
        "\ud83d" + CANARY + "\ude00",
        CANARY + "\U0001f600",
        CANARY + CONTROLS,
        f'{{"event": "{CANARY}", "level": "error"}}\n{{"event": "forged"}}',
        f'{CANARY}","{CANARY}',
        CANARY * 7,
        "m" * 255,
        "m" * 256,
        "\U0001f600" * 255,
        "\U0001f600" * 256,
        "\\u0000 " + CANARY,
        "%s %n {0} {canary} ${HOME} " + CANARY,
        "'; DROP TABLE ai_dialogue_log; -- " + CANARY,
        "\ufeff" + CANARY,
        "true",
        "null",
        "",
    )
] + [
    f'"{CANARY}\udcff"',
    f'"\udcc3{CANARY}"',
    '"\udced\udca0\udc80"',
    '"\\u0000"',
    '"\\\\u0000"',
    '"\\\\\\u0000"',
    f'"{CANARY}\\/\\b\\f"',
    f'"\\ud83d\\ude00{CANARY}"',
]
LONG_TEXT = json.dumps(CANARY * 20_000)

_ID = "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
UUIDS = [
    json.dumps(text)
    for text in (
        _ID,
        _ID.upper(),
        _ID.replace("-", ""),
        f"{{{_ID}}}",
        f"urn:uuid:{_ID}",
        _ID.replace("-", "", 1),
        _ID.replace("-", "--", 1),
        _ID[:-1],
        _ID + "0",
        f" {_ID}",
        _ID.replace("0", "\u0660"),
        _ID.replace("0", "g"),
        _ID[:-1] + "\0",
        "0" * 32,
        "f" * 32,
        "",
    )
]

# Around the limits of the fast lane, the exact lane, and the interpreter.
_DEEP = [
    before + open_ * depth + "1" + close * depth + after
    for depth in (150, 396, 401, *range(495, 502), 900, 970, 1100, 7000)
    for before, open_, close, after in (('[{"source":"s","x":', "[", "]", "}]"), ("", '{"d":', "}", ""))
]
_CITATIONS = [
    f'[{{"source":"{CANARY}"}}]',
    '[{"source":"s"},{"source":"t","title":null,"confidence":null,"timestamp":null}]',
    f'[{{"title":"{CANARY}"}}]',
    f'[{{"source":{{"{CANARY}":1}}}}]',
    f'[{{"source":"s","source":1,"source":"{CANARY}"}}]',
    f'[{{"source":"s","\\u0073ource":"{CANARY}"}}]',
    f'[{{"source":"s","{CANARY}\\u0000":1}}]',
    f'[{{"source":"s","x":"{CANARY}\\ud800"}}]',
    f'[{{"source":"s","x":"{CANARY}\udcff"}}]',
    f'[{{"source":"s","{CANARY}\udcff":1}}]',
    f'[{{"source":"{CANARY}\udcff"}}]',
    f'[{{"source":"s","x":"\\ud83d\\ude00{CANARY}\\\\u0000"}}]',
    '[{"source":"s","confidence":1e-400000}]',
    '[{"source":"s","x":1e400000}]',
    '[{"source":"s","x":' + "9" * 5000 + "}]",
    '[ { "source" : "s" , "page" : [ 1 , { } ] } ]',
    "[" + ",".join(['{"source":"s"}'] * 450) + "]",
    f'[{{"source":"{"[" * 450}"}}]',
    "[null]",
    "[[]]",
    "[{}]",
    "[1]",
    "[]",
]
_OBJECTS = [
    "{}",
    f'{{"{CANARY}":"{CANARY}"}}',
    f'{{"a":1,"a":"{CANARY}","":null}}',
    f'{{"{CANARY}\\u0000":1}}',
    '{"\\ud800":1}',
    '{"a":"\udcff"}',
    '{ "a" : 1.10 , "b" : 1e2 }',
    '{"a":1e400000}',
    '{"' + "k" * 5000 + '":1}',
]
JSON = [*_CITATIONS, *_OBJECTS, *_DEEP]
CONSTANTS = ["null", "true", "false", "[]", "{}", "NaN", "Infinity", "-Infinity", "nul", "undefined"]
_FAMILIES: Sequence[list[str]] = [TIMES, NUMBERS, QUOTED_NUMBERS, TEXTS, UUIDS, JSON, CONSTANTS]
# Values that nearly fit the type of a column find more than values that do not fit at all.
_FITTING: Mapping[str, Sequence[list[str]]] = {
    "timestamp": [TIMES],
    "integer": [NUMBERS, QUOTED_NUMBERS],
    "numeric": [NUMBERS, QUOTED_NUMBERS],
    "text": [TEXTS],
    "uuid": [UUIDS],
    "jsonb": [JSON],
}


def fitting(pg_type: str) -> list[str]:
    """Return every value that nearly fits a column of this type."""
    return [text for family in _FITTING.get(pg_type, _FAMILIES) for text in family]


def value_for(pg_type: str, chance: random.Random) -> str:
    """Return a value for a column of this type: mostly one that nearly fits, sometimes any."""
    if pg_type == "timestamp" and chance.random() < 0.5:
        return time(chance)
    if pg_type == "jsonb" and chance.random() < 0.3:
        return f'[{{"source":"{CANARY}","timestamp":{value_for("timestamp", chance)}}}]'
    families = _FITTING.get(pg_type, _FAMILIES) if chance.random() < 0.7 else _FAMILIES
    return chance.choice(chance.choice(families))


def time(chance: random.Random) -> str:
    """Return a random time in a valid or nearly valid form, close to the limits of the calendar."""
    if chance.random() < 0.3:
        return json.dumps(chance.choice(("0001-01-01T00:00:00", "9999-12-31T23:59:59")) + chance.choice(_OFFSETS))
    year = chance.choice(("0000", "0001", "0002", "1582", "1969", "1999", "2000", "2026", "9998", "9999"))
    date = f"{year}-{chance.choice(_MONTHS)}-{chance.choice(_DAYS)}"
    clock = f"{chance.choice(_HOURS)}:{chance.choice(_SIXTIETHS)}:{chance.choice(_SIXTIETHS)}"
    fraction = chance.choice(("", "", "." + "".join(chance.choices("0123456789", k=chance.randint(0, 10)))))
    return json.dumps(date + chance.choice("TTTt _") + clock + fraction + chance.choice(_OFFSETS))


_MONTHS, _DAYS = ("01", "02", "06", "12", "12", "13"), ("01", "01", "28", "28", "29", "30", "31", "32")
_HOURS, _SIXTIETHS = ("00", "09", "09", "23", "24"), ("00", "00", "07", "07", "59", "59", "60")
_OFFSETS = ("", "", "Z", "Z", "Z", "z", "+00:00", "-00:00", "+14:00", "-12:00", "+23:59", "-23:59", "+24:00", "Z ")
