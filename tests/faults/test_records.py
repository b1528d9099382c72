"""Tests difficult records: bad ones, very large ones, aborted and abandoned transactions."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.scene import let_time_pass
from tests.faults.traffic import Maker, Mix, Outgoing, Sent
from tests.support.ingestion import as_json, small_dialogue
from tests.support.producers import random_uuid

pytestmark = pytest.mark.timeout(300)

MAX_RECORD_BYTES = 8_388_608  # the service's default
FETCH_MAX_BYTES = 16_777_216  # the default too
LEFT_OPEN_SECONDS = 4.0
LARGE = {"message.max.bytes": 33_000_000, "compression.type": "zstd", "linger.ms": 0}


@pytest.mark.parametrize(
    ("mix", "title"),
    [
        (Mix(bad=0.01), "1 % bad records"),
        (Mix(bad=0.5), "50 % bad records"),
        (Mix(bad=1.0), "only bad records"),
        (Mix(bad=1.0, refused=1.0), "only records that PostgreSQL rejects"),
    ],
)
def test_bad_records(lab: Lab, stage: Stage, mix: Mix, title: str) -> None:
    """Each bad record is one dead letter, each good one is a row, and the lag stays small."""
    with stage(title, lab, mix=mix) as scene:
        scene.observer.wait_for_more(2000, seconds=120)
        scene.recover(title)
        for replica in scene.fleet.replicas:
            replica.service.wait_page("/healthz", 200)


def of_size(chance: random.Random, size: int) -> Outgoing:
    """Return a dialogue of exactly so many bytes that does not compress well; it is bad if that is too many."""
    key = str(random_uuid(chance))
    event = small_dialogue(chance, id=key, response="")
    left = size - len(as_json(event))
    text = chance.randbytes(left // 2 + 1).hex()[:left]
    name = key if size <= MAX_RECORD_BYTES else f"bad {key}"
    return Outgoing(Sent("dialogue", name.encode()), as_json(event | {"response": text}))


def test_records_at_and_above_the_limits(lab: Lab, stage: Stage) -> None:
    """A record at the limit is a row, and one byte more gives a dead letter, even if it exceeds a fetch. Small records
    are stored.
    """
    sizes = [1_048_576, MAX_RECORD_BYTES - 1, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, FETCH_MAX_BYTES + 1, 30_000_000]
    with stage("records at and above the size limits", lab, rate=60.0) as scene:
        scene.traffic.send((of_size(scene.chance, size) for size in sizes * 2), **LARGE)
        scene.recover("large records")
        found = scene.environment.query("SELECT reason, octet_length(value) AS size FROM dead_letters ORDER BY 2")
        large = [row["size"] for row in found if row["reason"] == "record_too_large"]
        assert large == sorted(size for size in sizes * 2 if size > MAX_RECORD_BYTES)


def test_aborted_and_abandoned_transactions(lab: Lab, stage: Stage) -> None:
    """Most are aborted. Some stay open until the broker ends them, and records behind these are read then."""
    with stage("transactions aborted or left open", lab, mix=Mix(aborted=0.8)) as scene:
        for number in range(3):
            left = scene.traffic.leave_open(records(scene.seed + number, 20), LEFT_OPEN_SECONDS)
            let_time_pass(LEFT_OPEN_SECONDS)
            scene.recover("transaction left open")
            del left


def records(seed: int, count: int) -> Iterator[Outgoing]:
    """Return good records."""
    maker = Maker(random.Random(f"{seed} left open"), Mix(bad=0.0))
    return (maker.next() for _ in range(count))
