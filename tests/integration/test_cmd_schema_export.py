"""`ragledger schema export`: documents that other people's tools take, and that say what the service does."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from consumer.settings.model import Topics
from tests.support.ingestion import small_dialogue
from tests.support.producers import provenance
from tests.support.service import Environment

pytestmark = pytest.mark.timeout(60)

COMMITTED = Path(__file__).parents[2] / "docs" / "events"
MAKERS: dict[str, Callable[..., dict[str, Any]]] = {"dialogue": small_dialogue, "provenance": provenance}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that did not exist before."""
    directory = tmp_path_factory.mktemp("export") / "new" / "events"
    topics = Topics().model_dump()  # the documents in the repository name the defaults
    done = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", topics).run("schema", "export", str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    assert {Path(line) for line in done.stdout.split()} == set(directory.iterdir())
    return directory


@pytest.mark.parametrize("kind", MAKERS)
def test_the_json_schema_takes_good_events_and_refuses_bad_ones(exported: Path, kind: str) -> None:
    """A valid draft 2020-12 schema that agrees with the service on what is required, ranges, nulls, further members."""
    schema = json.loads((exported / f"{kind}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    make, chance = MAKERS[kind], random.Random(1)
    for _ in range(50):
        validator.validate(make(chance))
    validator.validate(make(chance, something_new={"a": 1}))
    validator.validate(make(chance, id=None))
    bad: dict[str, list[dict[str, Any]]] = {
        "dialogue": [{"user_id": 1}, {"latency_ms": -1}, {"model_used": ""}, {"citations": [{"title": "t"}]}],
        "provenance": [{"content_type": "book"}, {"retention_years": -1}, {"acquired_at": None}, {"access_policy": []}],
    }
    for changes in bad[kind]:
        assert not validator.is_valid(make(chance, **changes)), changes


def test_the_asyncapi_document_names_topics_and_messages(exported: Path) -> None:
    """AsyncAPI 3: a channel for each topic, whose message holds the event's schema; every reference leads somewhere."""
    document = json.loads((exported / "asyncapi.json").read_text())
    assert document["asyncapi"].startswith("3.")
    assert {"title", "version"} <= document["info"].keys()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses >= {"rag.dialogue", "rag.provenance"}
    for reference in references(document):
        assert resolve(document, reference), reference
    for kind in MAKERS:
        payload = document["components"]["messages"][kind]["payload"]
        assert payload.get("schema", payload) == json.loads((exported / f"{kind}.schema.json").read_text())


def references(part: Any) -> list[str]:
    """Every `$ref` of a document."""
    if isinstance(part, list):
        return [found for member in part for found in references(member)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for member in part.values() for found in references(member)]


def resolve(document: Any, reference: str) -> Any:
    """What a local reference leads to."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def test_the_committed_documents_do_not_drift(exported: Path) -> None:
    """What producers read in the repository is what the service does now."""
    names = {path.name for path in exported.iterdir()}
    assert {path.name for path in COMMITTED.glob("*.json")} == names, "run: ragledger schema export docs/events"
    for name in names:
        assert (COMMITTED / name).read_text() == (exported / name).read_text(), f"{name} has drifted"


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file is in the way: exit code 1 and its name."""
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "events"
    done = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", {}).run("schema", "export", str(target))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "file") in done.stderr.replace("\n", "")
