"""Tests `ragledger provenance export`: W3C PROV-JSON for other tools, with any number of rows."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity

from tests.support.notices import ALICE, BOB, acquired, insert
from tests.support.psql import execute
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(120)

# The attributes that an entry must have, from the PROV-JSON submission; others are allowed.
REQUIRED: dict[str, tuple[str, ...]] = {
    "entity": (),
    "activity": (),
    "agent": (),
    "wasGeneratedBy": ("prov:entity",),
    "used": ("prov:activity",),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
    "specializationOf": ("prov:specificEntity", "prov:generalEntity"),
    "wasAttributedTo": ("prov:entity", "prov:agent"),
    "wasAssociatedWith": ("prov:activity",),
}
NAME = r"^(_|[A-Za-z][\w-]*):[\w.-]+$"
TYPED = {
    "type": "object",
    "properties": {"$": {"type": "string"}, "type": {"type": "string", "pattern": "^(xsd|prov):[A-Za-z_]+$"}},
    "required": ["$", "type"],
    "additionalProperties": False,
}
ENTRY = {
    "type": "object",
    "propertyNames": {"pattern": NAME},
    "additionalProperties": {"anyOf": [{"type": ["string", "number", "boolean"]}, TYPED]},
}
SCHEMA = {
    "type": "object",
    "required": ["prefix"],
    "additionalProperties": False,
    "properties": {
        "prefix": {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}},
        **{
            member: {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": NAME},
                "additionalProperties": {"allOf": [ENTRY, {"required": list(required)}]},
            }
            for member, required in REQUIRED.items()
        },
    },
}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database without Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {})


def exported(environment: Environment, *options: str) -> dict[str, Any]:
    """Return the document after checking it against the submission, and with another tool."""
    done = environment.run("provenance", "export", "--format", "prov-json", *options)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout, object_pairs_hook=without_repeated_names)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    ProvDocument.deserialize(content=done.stdout, format="json")
    return document


def without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raise if a name occurs twice, because a parser would drop the first."""
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_a_row_is_an_acquisition_with_its_source_copy_and_agent(environment: Environment) -> None:
    """Another implementation reads the entities, the activity, the agent, their relations, the licence and C2PA."""
    manifest = {"manifest_url": "https://c2pa.example/m", "hash": "q83v", "alg": "sha256"}
    (id_,) = insert(environment.dsn, acquired(1, ALICE, access_policy={"c2pa": manifest, "legal_hold": True}))
    document = exported(environment)
    copy = document["entity"][f"copy:{id_}"]
    assert copy["spdx:licenseDeclared"] == "CC-BY-4.0"
    assert copy["ragledger:retention_ends_at"] == {"$": "2020-02-03T04:05:06.000007Z", "type": "xsd:dateTime"}
    assert copy["ragledger:c2pa_manifest_url"]["$"] == "https://c2pa.example/m"
    assert (copy["ragledger:c2pa_hash"], copy["ragledger:c2pa_alg"]) == ("q83v", "sha256")
    assert copy["ragledger:on_legal_hold"] is True
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    assert {kind: len(list(read.get_records(kind))) for kind in (ProvEntity, ProvActivity, ProvAgent)} == {
        ProvEntity: 3,
        ProvActivity: 1,
        ProvAgent: 1,
    }
    text = read.get_provn()
    (row,) = environment.query("SELECT content_id FROM provenance")
    (source,) = [name for name in document["entity"] if name.startswith("source:")]
    assert document["entity"][source]["prov:location"]["$"] == "https://library.example/0"
    for said in (
        f"wasGeneratedBy(copy:{id_}, acquisition:{id_}, 2019-02-03T04:05:06.000007+00:00)",
        f"used(acquisition:{id_}, {source}, -)",
        f"wasDerivedFrom(copy:{id_}, {source}, acquisition:{id_}, -, -)",
        f"wasAttributedTo(copy:{id_}, agent:{ALICE})",
        f"wasAssociatedWith(acquisition:{id_}, agent:{ALICE}, -)",
        f"specializationOf(copy:{id_}, content:{row['content_id']})",
    ):
        assert said in text


def test_shared_objects_are_written_once(environment: Environment) -> None:
    """Several rows share a source, a content and an agent; a row without an agent has no relation to one."""
    content = uuid4()
    shared: dict[str, Any] = {"source_uri": 'https://x.example/"ü"\\ ?', "content_id": content}
    ids = insert(environment.dsn, acquired(2, ALICE, **shared), acquired(1, BOB, **shared), acquired(1, None, **shared))
    document = exported(environment)
    assert set(document["agent"]) == {f"agent:{ALICE}", f"agent:{BOB}"}
    assert len(document["entity"]) == len(ids) + 2
    assert len(document["wasAttributedTo"]) == len(document["wasAssociatedWith"]) == 3
    assert len(document["wasDerivedFrom"]) == len(document["specializationOf"]) == len(document["activity"]) == 4


def test_filters_choose_rows(environment: Environment) -> None:
    """They choose by time (half-open) and by content; without rows, the document has no sections."""
    early, late = acquired(1, acquired_at="2025-01-01"), acquired(1, acquired_at="2025-02-01")
    insert(environment.dsn, early, late)
    activities = {
        options: set(exported(environment, *options).get("activity", ()))
        for options in (
            (),
            ("--since", "2025-02-01"),
            ("--since", "2025-02-01T00:00:01Z"),
            ("--until", "2025-02-01"),
            ("--since", "2025-01-01T09:00:00+09:00", "--until", "2025-01-01T09:00:01+09:00"),
            ("--content-id", str(late[0]["content_id"])),
            ("--content-id", str(uuid4())),
        )
    }
    one, other = f"acquisition:{early[0]['id']}", f"acquisition:{late[0]['id']}"
    assert list(activities.values()) == [{one, other}, {other}, set(), {one}, {one}, {other}, set()]
    assert exported(environment, "--since", "2030-01-01").keys() == {"prefix"}


def test_extreme_values_are_exported(environment: Environment) -> None:
    """The limits of time, a retention without an end, an empty source."""
    insert(
        environment.dsn,
        acquired(1, acquired_at="0001-01-01", retention_years=2_147_483_647),
        acquired(1, acquired_at="9999-12-31T23:59:59.999999", retention_years=1, source_uri=""),
    )
    copies = [part for name, part in exported(environment)["entity"].items() if name.startswith("copy:")]
    assert not any("ragledger:retention_ends_at" in copy for copy in copies)


def test_a_failed_export_leaves_the_earlier_file(environment: Environment, tmp_path: Path) -> None:
    """No other file is left beside it."""
    insert(environment.dsn, acquired(3))
    target = tmp_path / "provenance.json"
    assert environment.run("provenance", "export", "-o", str(target)).returncode == 0
    before = target.read_text()
    assert len(json.loads(before)["activity"]) == 3
    execute(environment.dsn, "ALTER TABLE provenance RENAME COLUMN acquired_by TO x")
    failed = environment.run("provenance", "export", "-o", str(target))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert target.read_text() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_is_written_to(environment: Environment, tmp_path: Path) -> None:
    """A pipe and /dev/stdout are not replaced by a file, and a link is refused."""
    ids = insert(environment.dsn, acquired(2))
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert environment.run("provenance", "export", "-o", str(pipe)).returncode == 0
        document = json.loads(reader.communicate(timeout=30)[0])
    assert len(document["activity"]) == len(ids)
    assert pipe.is_fifo()
    assert len(exported(environment, "-o", "/dev/stdout")["activity"]) == len(ids)
    link.symlink_to(tmp_path / "target")
    refused = environment.run("provenance", "export", "-o", str(link))
    assert (refused.returncode, "is a link" in refused.stderr) == (1, True)
    full = environment.run("provenance", "export", "-o", "/dev/full")
    assert (full.returncode, "/dev/full cannot be written: No space left" in full.stderr) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize(
    "options", [("--format", "xml"), ("--since", "soon"), ("--since", "2026-02-01", "--until", "2026-01-01")]
)
def test_wrong_use_is_reported(environment: Environment, options: tuple[str, ...]) -> None:
    """It is reported before anything is written."""
    done = environment.run("provenance", "export", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.slow
def test_a_large_export_needs_little_memory(environment: Environment, tmp_path: Path) -> None:
    """For fifty thousand rows with different sources, the memory is small compared to the document."""
    execute(
        environment.dsn,
        "INSERT INTO provenance (content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,"
        " acquired_by) SELECT gen_random_uuid(), 'material', repeat('x', 400) || n, 'mit', 'api_fetch', now(),"
        " gen_random_uuid() FROM generate_series(1, 50000) AS n",
    )
    small = peak_memory(environment, tmp_path / "small", "--since", datetime.now(UTC).replace(year=9000).isoformat())
    large = peak_memory(environment, tmp_path / "large")
    size = (tmp_path / "large").stat().st_size
    assert size > 80_000_000
    assert large - small < 30_000_000 < size
    assert len(json.loads((tmp_path / "large").read_text())["activity"]) == 50_000


def peak_memory(environment: Environment, output: Path, *options: str) -> int:
    """Return the peak memory of an export in bytes."""
    script = (
        "import resource, runpy, sys\n"
        "sys.argv[0] = 'ragledger'\n"
        "try:\n    runpy.run_module('consumer', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )
    command = [sys.executable, "-c", script, "provenance", "export", "-o", str(output), *options]
    done = subprocess.run(command, env=os.environ | environment.variables, capture_output=True, timeout=100, check=True)
    return int(done.stdout.split()[-1])
