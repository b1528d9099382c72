"""Tests costs from end to end: converted, computed, settled again after a change of prices, and deleted with their
dialogue.
"""

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.erasing import KEY as ERASURE_KEY
from tests.support.ingestion import Outgoing, as_json, counts, environment_on, ingest, send, small_dialogue
from tests.support.ingestion import wait_for_records as wait_for
from tests.support.prices import TEXT
from tests.support.producers import random_uuid
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(240)

USER = UUID(int=77)
BASE = {"model_used": "gpt-5-mini", "token_cost_jpy": None, "created_at": "2026-05-01T10:00:00Z"}
TOKENS = {"prompt_tokens": 1_000, "completion_tokens": 100}
HIGHER_PRICES = TEXT.replace("150", "300")
EVENTS: dict[str, dict[str, Any]] = {
    "stated": TOKENS | {"token_cost_jpy": 7, "cost": {"amount": 1, "currency": "USD"}},
    "converted": TOKENS | {"cost": {"amount": "0.0123", "currency": "USD"}},
    "computed": TOKENS | {"cached_tokens": 500},
    "unknown model": TOKENS | {"model_used": "llama"},
    "unknown currency": {"cost": {"amount": 2, "currency": "EUR"}, "prompt_tokens": None, "completion_tokens": None},
    "nothing": {"prompt_tokens": None, "completion_tokens": None},
}
# 150 * 0.0123, and 150 * (500*100 + 500*10 + 100*1000) / 1e6
COSTS = {"stated": 7, "converted": Decimal("1.85"), "computed": Decimal("23.25")}


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """Return a price file."""
    path = tmp_path / "prices.yml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def online(stack: Servers, migrated_template: str, prices: Path) -> Iterator[Environment]:
    """Return topics, a database, and prices that the service reads again very often."""
    with environment_on(stack, migrated_template) as made:
        made.variables |= {
            "RAGLEDGER_PRICES__FILE": str(prices),
            "RAGLEDGER_PRICES__INTERVAL_S": "0.2",
            "RAGLEDGER_ROLLUP__INTERVAL_S": "0.5",
            "RAGLEDGER_ERASURE__KEY": ERASURE_KEY,
        }
        yield made


def outgoing(topic: str, **changes: Any) -> tuple[dict[str, UUID], list[Outgoing]]:
    """Return the events with their ids, and the ids by name."""
    chance = random.Random(5)
    ids = {name: random_uuid(chance) for name in EVENTS}
    made = [
        small_dialogue(chance, **BASE | {"id": str(ids[name]), "user_id": str(USER)} | members | changes)
        for name, members in EVENTS.items()
    ]
    return ids, [Outgoing(topic, as_json(event)) for event in made]


def stored(environment: Environment, ids: dict[str, UUID]) -> dict[str, tuple[Any, Any]]:
    """Return cost and source of each dialogue."""
    rows = environment.query(
        "SELECT id, token_cost_jpy, source FROM ai_dialogue_log LEFT JOIN dialogue_costs ON dialogue_id = id"
    )
    by_id = {row["id"]: (row["token_cost_jpy"], row["source"]) for row in rows}
    return {name: by_id[id_] for name, id_ in ids.items()}


EXPECTED = {
    "stated": (7, "stated"),
    "converted": (COSTS["converted"], "converted"),
    "computed": (COSTS["computed"], "computed"),
    "unknown model": (None, "unpriced"),
    "unknown currency": (None, "unpriced"),
    "nothing": (None, None),
}


def total(environment: Environment) -> Any:
    """Return the cost of the day."""
    rows = environment.query("SELECT total_cost FROM rag_metrics_history WHERE date(date) = '2026-05-01'")
    return rows[0]["total_cost"] if rows else None


def test_costs_are_settled_and_settled_again_when_the_file_changes(
    online: Environment, bootstrap_servers: str, prices: Path, tmp_path: Path
) -> None:
    """The service runs meanwhile. The day changes with the costs; a wrong file or redelivered events change nothing."""
    ids, records = outgoing(online.topics["dialogue"])
    with ServiceProcess(online, tmp_path / "log") as service:
        send(bootstrap_servers, records)
        wait_for(online, len(records))
        assert stored(online, ids) == EXPECTED
        eventually(lambda: total(online) == Decimal("32.10"), message="the day has its costs")
        service.wait_metric("rag_costs_total", 1, source="computed")
        service.wait_metric("rag_costs_total", 2, source="unpriced")
        service.wait_metric("rag_price_file_valid", 1)
        prices.write_text("models: {")
        service.wait_metric("rag_price_file_valid", 0)
        assert stored(online, ids) == EXPECTED
        added = "  - match: llama\n    prices: [{currency: JPY, input: 1, output: 90}]\nrates:\n  EUR: [{jpy: 160}]\n"
        prices.write_text(HIGHER_PRICES.replace("rates:\n", added))
        with_higher_prices = EXPECTED | {
            "converted": (Decimal("3.69"), "converted"),
            "computed": (Decimal("46.50"), "computed"),
            "unknown model": (Decimal("0.01"), "computed"),
            "unknown currency": (Decimal("320.00"), "converted"),
        }
        eventually(lambda: stored(online, ids) == with_higher_prices, message="all costs are settled again")
        eventually(lambda: total(online) == Decimal("377.20"), message="the day is computed again")
        service.wait_metric("rag_costs_recomputed_total", 4)
        send(bootstrap_servers, records)
        wait_for(online, 2 * len(records))
        assert counts(online) == {"inserted": len(ids), "duplicates": len(ids), "dead": 0}
        assert stored(online, ids) == with_higher_prices
        versions = online.query("SELECT version FROM price_versions ORDER BY adopted_at")
        notes = {row["price_version"] for row in online.query("SELECT price_version FROM dialogue_costs")}
        assert notes == {row["version"] for row in versions}  # the stated one keeps the version of its first write
    log = (tmp_path / "log").read_text()
    for event in ("prices_adopted", "prices_refused", "costs_recomputed"):
        assert event in log


def test_the_costs_of_an_erased_user_are_deleted(online: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """Deleting a dialogue by other means deletes the data behind its cost too."""
    ids, records = outgoing(online.topics["dialogue"])
    send(bootstrap_servers, records)
    ingest(online, len(records), tmp_path / "log")
    assert online.value("SELECT count(*) FROM dialogue_costs") == 5
    execute(online.dsn, f"DELETE FROM ai_dialogue_log WHERE id = '{ids['computed']}'")
    assert online.value("SELECT count(*) FROM dialogue_costs") == 4
    receipt = online.run_json("erase", "--user", str(USER), "--receipt", str(tmp_path))
    assert {line["name"]: line["count"] for line in receipt["deleted"]}["dialogues"] == 5
    assert online.value("SELECT count(*) FROM dialogue_costs") == 0


def test_a_replayed_dead_letter_is_priced(online: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """The prices of the command's settings apply. A cost out of range is a dead letter with its path."""
    topic = online.topics["dialogue"]
    cost = {"amount": 5_000_000, "currency": "USD"}
    event = small_dialogue(random.Random(1), **BASE | TOKENS | {"cost": cost})
    send(bootstrap_servers, [Outgoing(topic, as_json(event))])
    ingest(online, 1, tmp_path / "log")
    (letter,) = online.run_json("dead-letters", "list")
    assert letter["detail"]["faults"][0]["path"] == "cost"
    Path(online.variables["RAGLEDGER_PRICES__FILE"]).write_text(TEXT.replace("150", "0.01"))
    assert online.run_json("dead-letters", "replay")["inserted"] == 1
    assert online.value("SELECT token_cost_jpy FROM ai_dialogue_log") == Decimal("50000.00")
    assert online.value("SELECT source FROM dialogue_costs") == "converted"


def test_days_with_archived_rows_keep_their_costs(
    online: Environment, bootstrap_servers: str, prices: Path, tmp_path: Path
) -> None:
    """Their figures are final. Costs of dialogues in a file are marked as final, and are not settled again."""
    ids, records = outgoing(online.topics["dialogue"], created_at="2026-01-10T10:00:00Z")
    late_ids, late = outgoing(online.topics["dialogue"], created_at="2026-11-10T10:00:00Z", id=None)
    del late_ids
    send(bootstrap_servers, [*records, *late])
    ingest(online, len(records) + len(late), tmp_path / "log")
    assert online.run("partition", "convert").returncode == 0
    assert online.run("rollup", "--day", "2026-01-10").returncode == 0
    archived = online.run("partition", "archive", "--before", "2026-02", "--to", str(tmp_path))
    assert archived.returncode == 0, archived.stderr
    assert len(ids) == 6
    prices.write_text(HIGHER_PRICES)
    stale = "SELECT count(*) FROM dialogue_costs WHERE source <> 'stated' AND NOT is_final AND price_version <> %s"
    with ServiceProcess(online, tmp_path / "log2"):
        final = "SELECT count(*) FROM dialogue_costs WHERE is_final"
        eventually(lambda: online.value(final) == 4, message="the archived costs are final")
        eventually(lambda: online.value(stale, newest(online)) == 0, message="no cost is stale")
    days = online.query(
        "SELECT created_at::date::text AS day, count(*) AS n FROM dialogue_costs WHERE is_final GROUP BY 1"
    )
    assert [tuple(row.values()) for row in days] == [("2026-01-10", 4)]
    assert online.value("SELECT max(token_cost_jpy) FROM ai_dialogue_log") == Decimal("46.50")


def newest(environment: Environment) -> str:
    """Return the version in force."""
    return str(environment.value("SELECT version FROM price_versions ORDER BY adopted_at DESC LIMIT 1"))


# Rules of the owner that keep the costs of one dialogue as they are.
KEEPING = {
    "check": ("ALTER TABLE ai_dialogue_log ADD CHECK (id <> '{kept}' OR token_cost_jpy < 30)",),
    "left out": (
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN IF NEW.id = '{kept}' THEN RETURN NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER own BEFORE UPDATE ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION own()",
    ),
}


@pytest.mark.parametrize("rule", KEEPING)
def test_a_change_that_the_database_rejects_delays_no_other(
    online: Environment, bootstrap_servers: str, prices: Path, tmp_path: Path, rule: str
) -> None:
    """A constraint or a trigger of the owner rejects one change. The other costs are settled."""
    ids, records = outgoing(online.topics["dialogue"])
    send(bootstrap_servers, records)
    ingest(online, len(records), tmp_path / "log")
    execute(online.dsn, *(statement.format(kept=ids["computed"]) for statement in KEEPING[rule]))
    prices.write_text(HIGHER_PRICES)
    with ServiceProcess(online, tmp_path / "log2"):
        eventually(
            lambda: stored(online, ids)["converted"][0] == Decimal("3.69"), message="the other costs are settled"
        )
        eventually(
            lambda: online.value("SELECT is_final FROM dialogue_costs WHERE dialogue_id = %s", ids["computed"]),
            message="the rejected cost is left",
        )
    assert stored(online, ids)["computed"] == EXPECTED["computed"]


def test_commands_check_and_explain(stack: Servers, migrated_template: str, prices: Path, tmp_path: Path) -> None:
    """The exit code is 0 for a valid result, 3 if a check did not hold, and 1 for a failure."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        offline = Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_PRICES__FILE=str(prices))
        assert offline.run("prices", "check").returncode == 0
        found = offline.run_json("prices", "explain", "gpt-5-mini", "--at", "2026-05-01")
        assert found["per_million_tokens_jpy"] == {"input": "15000", "cached_input": "1500", "output": "150000"}
        assert (found["match"], found["rate_jpy"], found["problem"]) == ("gpt-5*", "150", None)
        assert "15000" in offline.run("prices", "explain", "gpt-5-mini").stdout
        unknown = offline.run("prices", "explain", "llama")
        assert (unknown.returncode, "no pattern" in unknown.stderr) == (3, True)
        other = tmp_path / "other.yml"
        other.write_text(TEXT.replace("USD", "EUR"))
        assert offline.run("prices", "check", str(other)).returncode == 3
        prices.write_text("models: [{match: m}]")
        wrong = offline.run_json("prices", "check")
        assert (wrong["holds"], wrong["problems"]) == (False, [f"{prices}, line 1: models[0].prices: is missing"])
        assert offline.run("prices", "check").returncode == 3
        assert offline.run("config", "check").returncode == 1
        del offline.variables["RAGLEDGER_PRICES__FILE"]
        assert offline.run("prices", "check").returncode == 1
        assert offline.run("prices", "explain", "x").returncode == 1
