"""Tests `ragledger doctor --bundle`: it contains what a maintainer needs, without a secret or event text."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.ingestion import Outgoing, as_json, environment_on, send, small_dialogue, wait_for_records
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

NAMESPACE = "0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d"
EVENT, SECRET = "Wie lautet die Antwort Zq7K", "Xw9P-secret-of-this-test"


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a service with a secret in every setting that can hold one."""
    with environment_on(stack, migrated_template, kinds=["dialogue"]) as made:
        address = urlsplit(made.dsn)
        made.variables |= {
            "RAGLEDGER_POSTGRES__DSN": address._replace(netloc=f"postgres:{SECRET}@127.0.0.1:{address.port}").geturl(),
            "RAGLEDGER_KAFKA__SASL_PASSWORD": SECRET,
            "RAGLEDGER_KAFKA__SASL_OAUTH_CLIENT_SECRET": SECRET,
            "RAGLEDGER_ERASURE__KEY": SECRET * 2,
            "RAGLEDGER_IDS__NAMESPACE": NAMESPACE,
        }
        yield made


def bundle_of(environment: Environment, file: Path, *arguments: str) -> Any:
    """Return the bundle after checking that it contains no secret and no event text."""
    done = environment.run("doctor", "--bundle", str(file), *arguments)
    assert done.returncode in (0, 3), done.stderr
    assert "Read it before you send it" in done.stderr.replace("\n", " ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    for planted in (EVENT, "Zq7K", SECRET, NAMESPACE):
        assert planted not in text
    return json.loads(text)


def test_a_bundle_contains_only_what_a_maintainer_needs(environment: Environment, tmp_path: Path) -> None:
    """Rows, dead letters, statements with constants and log lines of other programs exist. None of their text is
    included.
    """
    log, chance = tmp_path / "log", Random(1)
    topic = environment.topics["dialogue"]
    events = [small_dialogue(chance, query=EVENT, response=EVENT, model_used="m") for _ in range(5)]
    send(
        environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"],
        [*(Outgoing(topic, as_json(event)) for event in events), Outgoing(topic, EVENT.encode())],
    )
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 6)
        assert service.stop() == 0
    for statement in (
        f"COPY (SELECT count(*) FROM ai_dialogue_log WHERE query = '{EVENT}') TO '/dev/null'",
        f"SELECT count(*) FROM ai_dialogue_log WHERE query = '{EVENT}' /* {EVENT} */",
    ):
        execute(environment.dsn, statement)
    with log.open("a") as others:
        others.write(f"{EVENT} {SECRET}\n")
        others.write(json.dumps({"event": "claimed", "level": "info", "timestamp": "t", "problem": SECRET}) + "\n")
    found = bundle_of(environment, tmp_path / "bundle.json", "--log", str(log))
    assert found["versions"]["ragledger"]
    assert found["settings"]["RAGLEDGER_POSTGRES__DSN"] == "(hidden)"
    assert found["settings"]["RAGLEDGER_KAFKA__GROUP_ID"] == environment.group
    assert found["ledger"]["holds"]
    assert [(line["inserted"], line["dead_lettered"]) for line in found["ledger"]["partitions"]] == [(5, 1)]
    assert found["schema"]["migrations"][-1]["applied"]
    assert "postgresql" in {finding["check"] for finding in found["findings"]}
    assert {"listening", "stopped"} < {line["event"] for line in found["log"]["lines"]}
    assert found["log"]["left_out"] >= 1


def test_a_bundle_without_available_servers(environment: Environment, tmp_path: Path) -> None:
    """Each part reports the problem. A bundle is needed most if servers are unavailable."""
    environment.variables |= {
        "RAGLEDGER_POSTGRES__DSN": f"postgresql://app:{SECRET}@127.0.0.1:9/d",
        "RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }
    found = bundle_of(environment, tmp_path / "bundle.json")
    assert "127.0.0.1:9" in found["schema"]["problem"]
    assert "problem" in found["ledger"]
    assert {finding["severity"] for finding in found["findings"]} == {"error"}
    assert found["log"] is None


def test_a_log_from_standard_input(environment: Environment, tmp_path: Path) -> None:
    """An example is `journalctl -u ragledger -o cat | ragledger doctor --bundle FILE --log -`."""
    line = json.dumps({"event": "listening", "level": "info", "timestamp": "2026-01-31T09:30:00Z"})
    done = environment.run("doctor", "--bundle", str(tmp_path / "b"), "--log", "-", stdin=line.encode())
    assert done.returncode in (0, 3), done.stderr
    assert [one["event"] for one in json.loads((tmp_path / "b").read_text())["log"]["lines"]] == ["listening"]


def test_a_log_without_a_bundle_is_wrong_use(environment: Environment, tmp_path: Path) -> None:
    """The option would have no effect. A bundle is not written over a directory."""
    assert environment.run("doctor", "--log", "-").returncode == 2
    (tmp_path / "directory").mkdir()
    refused = environment.run("doctor", "--bundle", str(tmp_path / "directory"))
    assert (refused.returncode, "is a directory" in refused.stderr) == (1, True)
