"""A record for every reason of a dead letter, and database rules that reject some of them."""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.ingestion import Outgoing, as_json, small_dialogue
from tests.support.producers import provenance
from tests.support.psql import execute

MAX_RECORD_BYTES = 20_000
SECRET = "geheim"  # in the text of every bad event; details of dead letters and logs must not contain it
TEXT = "früh ✓ geheim"
KEY = b"key \xff\x00"
HEADERS: list[tuple[str, bytes | None]] = [
    ("trace", b"\x00\xff"),
    ("empty", b""),
    ("none", None),
    ("trace", b"again"),
    ("größe", b"1"),
]
CLOUD_EVENT: Mapping[str, bytes] = {
    "ce_specversion": b"1.0",
    "ce_type": b"rag.dialogue",
    "ce_source": b"/chat",
    "ce_id": b"1",
}
BY_RULE, BY_TRIGGER, BY_CASCADE = "refused by a rule", "refused by a trigger", "11111111-1111-4111-8111-111111111111"
RULES = (
    f"ALTER TABLE ai_dialogue_log ADD CONSTRAINT no_such_question CHECK (query <> '{BY_RULE}')",
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN IF NEW.query = '{BY_TRIGGER}' THEN RAISE EXCEPTION 'no: %', NEW.response; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION refuse()",
    "CREATE TABLE users (id UUID PRIMARY KEY)",
    "ALTER TABLE provenance ADD CONSTRAINT known_user FOREIGN KEY (acquired_by) REFERENCES users (id)",
)


class Bad(NamedTuple):
    """A record, and the expected content of its dead letter."""

    record: Outgoing
    reason: str
    path: str = ""
    sqlstate: str | None = None


def make_rules(dsn: str) -> None:
    """Add rules to the database that reject the records of :func:`bad_records`."""
    execute(dsn, *RULES)


def bad_records(topics: Mapping[str, str]) -> list[Bad]:
    """Return one or more records for every reason."""
    chance = random.Random(7)

    def dialogue(**changes: Any) -> bytes:
        return as_json(small_dialogue(chance, **{"query": TEXT, "response": TEXT, **changes}))

    def of_dialogue(value: bytes | None, *headers: tuple[str, bytes]) -> Outgoing:
        return Outgoing(topics["dialogue"], value, KEY, [*HEADERS, *headers])

    def of_provenance(**changes: Any) -> Outgoing:
        return Outgoing(topics["provenance"], as_json(provenance(chance, **changes)), KEY, HEADERS)

    def cloud_event(**changes: bytes | None) -> list[tuple[str, bytes]]:
        return [(name, value) for name, value in {**CLOUD_EVENT, **changes}.items() if value is not None]

    out_of_range = dialogue(citations=[{"source": TEXT, "weight": 0.75}]).replace(b"0.75", b"1e400000")
    return [
        Bad(of_dialogue(b'{"query": "geheim'), "not_json"),
        Bad(of_dialogue(b'["geheim"]'), "not_json"),
        Bad(of_dialogue(b""), "not_json"),
        Bad(of_dialogue(b'{"query": "geheim\xff"}'), "not_json"),
        Bad(of_dialogue(dialogue(), *cloud_event(ce_id=None)), "invalid_envelope", "ce_id"),
        Bad(of_dialogue(dialogue(), *cloud_event(ce_type=b"rag.provenance")), "wrong_kind", "ce_type"),
        Bad(of_dialogue(dialogue(session_id=None)), "missing_field", "session_id"),
        Bad(
            of_dialogue(dialogue(citations=[{"source": TEXT}, {"title": TEXT}])), "missing_field", "citations[1].source"
        ),
        Bad(of_dialogue(dialogue(latency_ms=SECRET)), "invalid_field", "latency_ms"),
        Bad(of_dialogue(dialogue(response=f"{TEXT}\0")), "nul_character", "response"),
        Bad(of_dialogue(None), "tombstone"),
        Bad(of_dialogue(dialogue(response=TEXT * MAX_RECORD_BYTES)), "record_too_large"),
        Bad(of_dialogue(out_of_range), "refused_by_database", "", "22003"),
        Bad(of_dialogue(dialogue(query=BY_RULE)), "refused_by_database", "", "23514"),
        Bad(of_dialogue(dialogue(query=BY_TRIGGER)), "refused_by_database", "", "P0001"),
        Bad(of_provenance(license_type=SECRET), "invalid_field", "license_type"),
        Bad(of_provenance(source_uri=f"https://{chance.randbytes(3000).hex()}"), "refused_by_database", "", "54000"),
        Bad(of_provenance(acquired_by=BY_CASCADE), "unknown_reference", "acquired_by", "23503"),
    ]
