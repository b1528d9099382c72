"""Tests which readable offsets a decision gives up."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from consumer.admin import decisions, ledger
from consumer.errors import OperationError
from consumer.events.record import Partition
from consumer.ingest.ports import Answers, Bounds

HERE = Partition("rag.dialogue", 0)
OLD, NEW = UUID(int=1), UUID(int=2)
DAMAGED = {"stopped_because": "damaged", "resume_from": "41", "unreadable_from": 30, "unreadable_until": 41}
LIMIT = {"stopped_because": "too many dead letters", "resume_from": "here"}
LOST = {"stopped_because": "lost records", "diverges_at": 12}


def books(**changes: Any) -> dict[str, Any]:
    """Return a row of the ledger."""
    names = ("stopped_because", "resume_from", "unreadable_from", "unreadable_until", "diverges_at")
    return {"next_offset": 30, "topic_id": OLD, "leader_epoch": 4, **dict.fromkeys(names), **changes}


@pytest.mark.parametrize(
    ("row", "bounds", "target", "given_up"),
    [
        (books(), Bounds(0, 50, OLD), "here", 0),
        (books(), Bounds(0, 50, OLD), "earliest", 0),
        (books(), Bounds(0, 50, OLD), 7, 0),
        (books(), Bounds(0, 50, OLD), 31, 1),
        (books(), Bounds(0, 50, OLD), "latest", 20),
        (books(), Bounds(40, 50, OLD), "earliest", 0),
        (books(), Bounds(40, 50, OLD), 43, 3),
        (books(), Bounds(40, 50, OLD), "latest", 10),
        (books(**DAMAGED), Bounds(0, 50, OLD), 41, 0),
        (books(**DAMAGED), Bounds(0, 50, OLD), 35, 0),
        (books(**DAMAGED), Bounds(0, 50, OLD), 42, 1),
        (books(**DAMAGED), Bounds(0, 50, OLD), "latest", 9),
        (books(**DAMAGED), Bounds(35, 50, OLD), 45, 4),
        (books(**DAMAGED) | {"next_offset": 25}, Bounds(0, 50, OLD), 41, 5),
        (books(**LIMIT), Bounds(0, 50, OLD), "here", 0),
        (books(**LIMIT), Bounds(0, 50, OLD), "latest", 20),
        (books(**LOST), Bounds(0, 50, OLD), "here", 18),
        (books(**LOST), Bounds(0, 50, OLD), 12, 0),
        (books(**LOST | {"diverges_at": 0}), Bounds(0, 50, OLD), "here", 30),
        (books(**LOST | {"diverges_at": 0}), Bounds(0, 50, OLD), "earliest", 0),
        (books(**LOST | {"diverges_at": 0}), Bounds(40, 50, OLD), "earliest", 0),
        (books(**LOST), Bounds(0, 50, OLD), 15, 3),
        (books(), Bounds(0, 12, OLD), "latest", 12),
        (books(), Bounds(0, 12, OLD), "earliest", 0),
        (books(), Bounds(0, 50, NEW), "earliest", 0),
        (books(), Bounds(0, 50, NEW), "latest", 50),
        (books(), Bounds(5, 50, NEW), 8, 3),
        (books(**DAMAGED), Bounds(0, 50, NEW), "latest", 50),
    ],
)
def test_offsets_that_are_given_up_are_counted(row: dict[str, Any], bounds: Bounds, target: Any, given_up: int) -> None:
    """The decision is refused. Offsets that Kafka no longer holds, or that a stop lists as unreadable, do not count."""
    decision = decisions._decide(HERE, row, bounds, target)
    assert decision.given_up == given_up
    advised = decisions._advised(HERE, row, bounds, None)
    if given_up:
        with pytest.raises(OperationError, match=f"gives up {given_up} readable offsets") as refused:
            decisions._refuse_to_give_up(HERE, advised, decision)
        assert "--give-up-readable" in str(refused.value)
    else:
        decisions._refuse_to_give_up(HERE, advised, decision)


@pytest.mark.parametrize("row", [books(), books(**LIMIT), books(**DAMAGED)])
@pytest.mark.parametrize("bounds", [Bounds(42, 60, OLD), Bounds(0, 60, NEW)])
def test_the_advice_can_be_followed_after_its_offset_is_gone(row: dict[str, Any], bounds: Bounds) -> None:
    """Retention has passed it, or the topic was recreated, since the partition stopped."""
    assert decisions._decide(HERE, row, bounds, "latest").given_up
    advised: Any = decisions._advised(HERE, row, bounds, None).resume_from
    assert decisions._decide(HERE, row, bounds, advised).given_up == 0


CUT = {"stopped_because": "cut off", "resume_from": "22", "diverges_at": 22}


@pytest.mark.parametrize("row", [books(), books(**LIMIT), books(**DAMAGED), books(**CUT)])
@pytest.mark.parametrize(
    ("log_end", "target", "given_up"),
    [(12, "here", 18), (12, 25, 13), (12, 22, 10), (12, 12, 0), (12, "earliest", 0), (0, 1, 1), (0, "earliest", 0)],
)
def test_offsets_after_a_divergence_were_never_read(
    row: dict[str, Any], log_end: int, target: Any, given_up: int
) -> None:
    """This holds for any stop reason, or for none. The advised command gives up nothing."""
    bounds = Bounds(0, 50, OLD, leader_epoch=5)
    assert decisions._decide(HERE, row, bounds, target, log_end).given_up == given_up
    advised = int(decisions._advised(HERE, row, bounds, log_end).resume_from)
    assert advised == log_end
    assert decisions._decide(HERE, row, Bounds(0, log_end, OLD, leader_epoch=5), "latest", log_end).given_up == 0
    assert decisions._decide(HERE, row, bounds, advised, log_end).given_up == 0


@pytest.mark.parametrize("log_end", [22, 27, 30, None])
def test_a_later_divergence_changes_nothing(log_end: int | None) -> None:
    """The ledger keeps the earlier one, which gives up less."""
    bounds = Bounds(0, 50, OLD, leader_epoch=6)
    assert decisions._advised(HERE, books(**CUT), bounds, log_end).resume_from == "22"
    assert decisions._decide(HERE, books(**CUT), bounds, 27, log_end).given_up == 5


def test_a_log_with_older_leader_epochs_holds_no_known_record() -> None:
    """After brokers are restored from a backup, only reading from the beginning gives up nothing."""
    bounds = Bounds(0, 50, OLD, leader_epoch=3)
    assert decisions._decide(HERE, books(), bounds, "here").given_up == 30
    assert decisions._advised(HERE, books(), bounds, None).resume_from == "earliest"
    assert decisions._decide(HERE, books(), bounds, "earliest").given_up == 0
    assert decisions._decide(HERE, books(), Bounds(0, 50, NEW, leader_epoch=0), "earliest").given_up == 0


@pytest.mark.parametrize(
    ("next_offset", "diverges_at", "bounds", "lag"),
    [
        (30, None, Bounds(0, 30), 0),
        (30, 20, Bounds(0, 30), 10),
        (30, 20, Bounds(25, 30), 5),
        (30, 0, Bounds(0, 20), 20),
        (30, 20, Bounds(0, 18, held_back=2), 0),
    ],
)
def test_records_after_a_divergence_count_as_waiting(
    next_offset: int, diverges_at: int | None, bounds: Bounds, lag: int
) -> None:
    """A partition is not caught up although it has as many new records as were cut off."""
    line = ledger.LedgerLine(*HERE, 0, next_offset, 30, 0, 0, 0, 0, 0, 1, None, None, True, diverges_at=diverges_at)
    (found,) = ledger._with_lag({HERE: line}, Answers({HERE: bounds}), ())
    assert found.lag == lag
    assert ledger.Ledger([found]).is_caught_up == (lag == 0)


def test_a_partition_whose_leader_does_not_answer_is_not_caught_up() -> None:
    """It is unknown how many records wait in it."""
    line = ledger.LedgerLine(*HERE, 0, 30, 30, 0, 0, 0, 0, 0, 1, None, None, True)
    (found,) = ledger._with_lag({HERE: line}, Answers({}, {HERE: "it has no leader"}), ())
    assert found.lag is None
    assert not ledger.Ledger([found]).is_caught_up


def test_a_trace_that_is_not_folded_yet_waits() -> None:
    """Its records are read, but its dialogue is not stored yet."""
    line = ledger.LedgerLine(*HERE, 0, 30, 30, 0, 0, 0, 0, 0, 1, None, None, True, lag=0)
    assert ledger.Ledger([line]).is_caught_up
    assert not ledger.Ledger([line], traces_waiting=1).is_caught_up
