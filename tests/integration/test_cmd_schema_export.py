"""Tests `ragledger schema export`: other tools accept the documents, and they match the service."""

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
    """Return a new directory with the documents."""
    directory = tmp_path_factory.mktemp("export") / "new" / "events"
    topics = dict(Topics().named)  # the documents in the repository have the default names
    done = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", topics).run("schema", "export", str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    assert {Path(line) for line in done.stdout.split()} == set(directory.iterdir())
    return directory


@pytest.mark.parametrize("kind", MAKERS)
def test_the_json_schema_accepts_good_events_and_rejects_bad_ones(exported: Path, kind: str) -> None:
    """It is valid draft 2020-12 and agrees with the service on required fields, ranges, nulls and further members."""
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
    """AsyncAPI 3: a channel for each topic, with a message that has the event's schema; every reference can be
    resolved.
    """
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
    """Return every `$ref` of a document."""
    if isinstance(part, list):
        return [found for member in part for found in references(member)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for member in part.values() for found in references(member)]


def resolve(document: Any, reference: str) -> Any:
    """Return the target of a local reference."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def test_the_committed_documents_do_not_drift(exported: Path) -> None:
    """The documents in the repository match the service."""
    names = {path.name for path in exported.iterdir()}
    assert {path.name for path in COMMITTED.glob("*.json")} == names, "run: ragledger schema export docs/events"
    for name in names:
        assert (COMMITTED / name).read_text() == (exported / name).read_text(), f"{name} has drifted"


def test_an_unwritable_directory_is_reported(tmp_path: Path) -> None:
    """A file has the name of the directory: exit code 1 and its name."""
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "events"
    done = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", {}).run("schema", "export", str(target))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "file") in done.stderr.replace("\n", "")
