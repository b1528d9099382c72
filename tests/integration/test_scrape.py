"""Tests a scrape of the real service with hostile producers, using Prometheus' own tool."""

import random
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from consumer.telemetry.domain import MAX_MODELS
from tests.support.ingestion import Outgoing, as_json, environment_on, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECRET = "geheime-frage"
HOSTILE_NAMES = [
    '"',
    "\\",
    'a"} 1\nrag_fake_total 7',
    "\n# HELP x y",
    "x" * 100,
    "😀" * 100,
    "\u202e\ufeff\x7f",
    " ",
    "model=",
]
MANY_NAMES = 200


@pytest.fixture(scope="module")
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database for all tests."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture(scope="module")
def service(
    stack: Servers, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """Return the service after hostile names and a flood of models were published."""
    chance = random.Random(1)
    names = [*HOSTILE_NAMES, *(f"model-{number}" for number in range(MANY_NAMES))]
    events = [small_dialogue(chance, model_used=name, query=SECRET, response=SECRET) for name in names]
    topic = environment.topics["dialogue"]
    records = [Outgoing(topic, as_json(event)) for event in events]
    records += [Outgoing(topic, b"\xff\xfe" + SECRET.encode()), Outgoing(topic, None)]
    send(stack.bootstrap_servers, records)
    with ServiceProcess(environment, tmp_path_factory.mktemp("scrape") / "log") as running:
        wait_for_records(environment, len(records))
        eventually(lambda: running.metric("rag_day_unique_users") > 0)
        eventually(lambda: running.metric("rag_dialogues_total") == len(names))
        yield running


def scrape(service: ServiceProcess, accept: str) -> str:
    """Return the body of /metrics."""
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


def test_promtool_reports_nothing(service: ServiceProcess, tmp_path: Path) -> None:
    """Names, units, types, help texts and escapes are correct in the format that Prometheus checks."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    body = scrape(service, "text/plain")
    done = subprocess.run([promtool, "check", "metrics"], input=body.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_models_are_bounded_and_shown_unchanged(service: ServiceProcess) -> None:
    """A hundred have their own name, the others share one; no name becomes a line, and none is altered."""
    for accept, parse in (("text/plain", parse_text), ("application/openmetrics-text", parse_openmetrics)):
        body = scrape(service, accept)
        samples = [sample for family in parse(body) for sample in family.samples]
        models = {sample.labels["model"] for sample in samples if sample.name == "rag_citations_total"}
        assert len(models) == MAX_MODELS + 1
        assert {*HOSTILE_NAMES, "other"} <= models
        assert "rag_fake_total" not in {sample.name for sample in samples}
        dialogues = sum(sample.value for sample in samples if sample.name == "rag_dialogues_total")
        assert dialogues == len(HOSTILE_NAMES) + MANY_NAMES
        assert SECRET not in body


def test_the_page_shows_the_figures_and_no_event_text(service: ServiceProcess) -> None:
    """Today's figures, the partitions with their lag, the dead letters by reason; security headers on every
    response.
    """
    figure = f"<dd>{len(HOSTILE_NAMES) + MANY_NAMES:,}</dd>"
    _, page = eventually(
        lambda: figure in (found := service.get("/"))[1] and found, message="the page has today's figures"
    )
    assert re.search(r'<th scope="row">dialogue-\w+/0</th>', page)
    eventually(lambda: "Up to date." in service.get("/")[1], message="the page shows no lag")
    for reason in ("not_json", "tombstone"):
        assert reason in page
    assert SECRET not in page
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}", timeout=10) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert response.headers["Referrer-Policy"] == "no-referrer"


def test_throughput_is_measured_between_snapshots(service: ServiceProcess) -> None:
    """The first snapshot has none; then it is a number, 0 while nothing is read."""
    eventually(lambda: re.search(r"Records a second</dt><dd>0</dd>", service.get("/")[1]), timeout=60)


def test_a_slow_database_does_not_block_the_page(environment: Environment, service: ServiceProcess) -> None:
    """Its tables are locked: within seconds the page says so, with the last figures; then it is normal again."""
    eventually(lambda: service.get("/")[0] == 200)
    with psycopg.connect(environment.dsn) as holder:
        holder.execute("LOCK TABLE rag_metrics_history IN ACCESS EXCLUSIVE MODE")
        _, page = eventually(lambda: (found := service.get("/"))[0] == 503 and found, timeout=30)
        assert "The database is unavailable" in page
        assert "The figures below are from" in page
        service.wait_page("/healthz", 200)
    eventually(lambda: service.get("/")[0] == 200)


def test_reloads_do_not_reach_the_database(service: ServiceProcess) -> None:
    """Two hundred concurrent requests get the same answer quickly."""
    pages = {service.get("/")[1] for _ in range(200)}
    assert 1 <= len(pages) <= 100
    service.wait_page("/healthz", 200)
