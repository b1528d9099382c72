"""Tests hostile records through the service: each is counted once, and no log or terminal shows their text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from tests.support.bad_records import MAX_RECORD_BYTES, SECRET, bad_records, make_rules
from tests.support.ingestion import Outgoing, as_json, counts, environment_on, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers
from tests.unit.fuzz.hostile import Hostile
from tests.unit.fuzz.values import CANARY, CONTROLS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RECORDS = 1500
LARGE = {"message.max.bytes": 2_000_000}
ONE_OF_EACH = """
    SELECT DISTINCT ON (reason) id FROM dead_letters ORDER BY reason, octet_length(key) DESC NULLS LAST
"""
# Words of each record that no message of ours contains by chance.
SECRETS = (CANARY, SECRET, "Aufnahmen", "library.example", "[31m")


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database with rules of its own, and a service with the most verbose log."""
    settings = {"RAGLEDGER_LOG__LEVEL": "DEBUG", "RAGLEDGER_BATCH__MAX_RECORD_BYTES": str(MAX_RECORD_BYTES)}
    with environment_on(stack, migrated_template, partitions=2, **settings) as made:
        make_rules(made.dsn)
        yield made


def hostile(environment: Environment, seed: int) -> list[Outgoing]:
    """Return records of both kinds with a canary in every text, key and header, and one record for every reason."""
    chance = random.Random(seed)
    found = [bad.record for bad in bad_records(environment.topics)]
    for kind in (DIALOGUE, PROVENANCE):
        maker, topic = Hostile(kind, chance), environment.topics[kind.name]
        while len(found) < RECORDS * (1 if kind is DIALOGUE else 2):
            found.extend(outgoing(topic, record) for record in maker.slice(40) if can_be_sent(record))
    models = [small_dialogue(chance, model_used=f"{CONTROLS}{n}", query=CANARY) for n in range(3)]
    return found + [Outgoing(environment.topics["dialogue"], as_json(event)) for event in models]


def can_be_sent(record: StoredRecord) -> bool:
    """Return whether the client accepts the header names, which must be C strings."""
    return all(name and "\0" not in name for name, _ in record.headers)


def outgoing(topic: str, record: StoredRecord) -> Outgoing:
    """Return the record for the producer, with a time that brokers accept."""
    return Outgoing(topic, record.value, record.key, record.headers)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_event_text_is_logged(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, log_format: str
) -> None:
    """The log at its most verbose has no event text, no forged line and no control character."""
    records, log = hostile(environment, seed=1), tmp_path / "log"
    send(bootstrap_servers, records, **LARGE)
    with ServiceProcess(environment, log, RAGLEDGER_LOG__FORMAT=log_format) as service:
        wait_for_records(environment, len(records), timeout=120)
        assert_labels_are_sound(service)
        assert service.stop() == 0
    assert sum(counts(environment).values()) == len(records)
    text = log.read_text()
    assert [secret for secret in SECRETS if secret in text] == []
    assert text.replace("\n", "").isprintable()
    if log_format == "json":
        assert all("event" in json.loads(line) for line in text.splitlines())
    environment.assert_caught_up()


def assert_labels_are_sound(service: ServiceProcess) -> None:
    """Assert that model names are valid labels, and that the page does not show them."""

    def models() -> set[str]:
        families = text_string_to_metric_families(service.get("/metrics")[1])
        return {sample.labels["model"] for family in families for sample in family.samples if "model" in sample.labels}

    eventually(lambda: any(CONTROLS in model for model in models()), message="the batch is counted after COMMIT")
    assert CANARY not in service.get("/")[1]


def test_no_dead_letter_writes_to_the_terminal(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """A person can see the content of an event, but it moves no cursor and sets no colour."""
    topic = environment.topics["dialogue"]
    hostile_text = f"[bold red]{CONTROLS}[/] [link=http://evil.example] [/nothing]"
    records = [
        Outgoing(
            topic,
            hostile_text.encode(),
            hostile_text.encode(),
            [(hostile_text, hostile_text.encode()), ("x", b"\x1b[2J\xff")],
        ),
        *(bad.record for bad in bad_records(environment.topics)),
    ]
    send(bootstrap_servers, records, **LARGE)
    with ServiceProcess(environment, tmp_path / "log"):
        wait_for_records(environment, len(records))
    listed, ids = environment.run("dead-letters", "list"), environment.query(ONE_OF_EACH)
    shown = [environment.run("dead-letters", "show", str(row["id"])) for row in ids]
    for done in (listed, *shown):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.replace("\n", "").isprintable()
    assert SECRET not in listed.stdout
    assert any("[bold" in done.stdout and "/nothing]" in done.stdout for done in shown), "it is shown unchanged"
