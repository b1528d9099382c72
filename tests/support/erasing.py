"""Users for erasure tests, and a search for data that names them."""

import base64
import json
import random
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tests.support.ingestion import Outgoing, as_json, small_dialogue
from tests.support.service import Environment

KEY = "k" * 32
STRUCTURED = [("content-type", b"application/cloudevents+json")]
DIALOGUE = """
    INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, latency_ms)
    VALUES (%s, %s, gen_random_uuid(), 'q', 'r', 'm', %s, 100)
"""
LETTER = """
    INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, key, value, headers, reason)
    VALUES ('rag.dialogue', 0, %s, '2026-01-01Z', %s, %s, %s, 'not_json') RETURNING id
"""


def add_dialogues(dsn: str, user: UUID, *moments: str) -> list[UUID]:
    """Insert a dialogue of the user at each of these times. Return their ids."""
    ids = [uuid4() for _ in moments]
    with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(DIALOGUE, [(id_, user, moment) for id_, moment in zip(ids, moments, strict=True)])
    return ids


def add_letters(dsn: str, records: Iterable[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> list[int]:
    """Insert open dead letters with these keys, values and headers. Return their ids in order."""
    ids = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        (first,) = connection.execute("SELECT coalesce(max(record_offset), 0) + 1 FROM dead_letters").fetchone() or (0,)
        for offset, (key, value, headers) in enumerate(records, first):
            stored = json.dumps([{"key": name, "value": base64.b64encode(raw).decode()} for name, raw in headers])
            row = connection.execute(LETTER, (offset, key, value, stored)).fetchone()
            ids += [row[0]] if row else []
    return ids


def escaped(text: str) -> str:
    """Return the text with all characters as JSON escapes."""
    return "".join(f"\\u{ord(character):04X}" for character in text)


def spellings(user: UUID) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    """Return records that name the user in different ways: key, value, headers."""
    event = {"user_id": str(user), "query": "q"}
    nested = json.dumps({"specversion": "1.0", "data_base64": base64.b64encode(json.dumps(event).encode()).decode()})
    values = [
        json.dumps(event),
        json.dumps({"user_id": str(user).upper()}),
        json.dumps({"user_id": user.hex}),
        f'{{"user_id": "{escaped(str(user))}"}}',
        f'{{"user_id": "{user}", "cut off',
        nested,
    ]
    return [
        *((None, value.encode(), []) for value in values),
        (None, json.dumps(event).encode("utf-16"), []),
        (str(user).encode(), b"x", []),
        (user.bytes, None, []),
        (None, b"x", [("user", str(user).encode())]),
        (None, b"x", [("authorization", b"Bearer " + base64.urlsafe_b64encode(json.dumps(event).encode()))]),
    ]


def records_of(user: UUID, topic: str, seed: int) -> list[Outgoing]:
    """Return records that a producer may have sent about a user: dialogues in each envelope, and invalid records."""
    chance = random.Random(seed)
    events = [as_json(small_dialogue(chance, user_id=str(user))) for _ in range(4)]
    envelope: dict[str, Any] = {"specversion": "1.0", "type": "rag.dialogue", "source": "/s", "id": str(seed)}
    structured = envelope | {"data": json.loads(events[2])}
    encoded = envelope | {"data_base64": base64.b64encode(events[3]).decode()}
    binary = [(f"ce_{name}", text.encode()) for name, text in envelope.items()]
    return [
        Outgoing(topic, events[0]),
        Outgoing(topic, events[1], str(user).encode(), binary),
        Outgoing(topic, as_json(structured), None, STRUCTURED),
        Outgoing(topic, as_json(encoded), None, STRUCTURED),
        Outgoing(topic, f'{{"user_id": "{user}"'.encode()),
        Outgoing(topic, b"not JSON", str(user).encode()),
    ]


def tables_with_user(environment: Environment, user: UUID) -> list[str]:
    """Return the tables in which any column names the user, as text or as bytes of text."""
    tables = environment.query(
        "SELECT format('%I', relname) AS name FROM pg_class"
        " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    needles = {str(user), user.hex}
    needles |= {needle.encode().hex() for needle in needles} | {needle.upper().encode().hex() for needle in needles}
    condition = " OR ".join(f"t::text ILIKE '%%{needle}%%'" for needle in sorted(needles))
    return [
        row["name"] for row in tables if environment.value(f"SELECT count(*) FROM {row['name']} AS t WHERE {condition}")
    ]
