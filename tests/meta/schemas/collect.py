"""Writes the JSON Schemas in this directory, with which kubeconform checks the chart and its examples.

    python tests/meta/schemas/collect.py SOURCE...

A source is a directory of Kubernetes' own schemas (v1.37.0-local-strict in the wheel of kubernetes-validate), or a file
with a CustomResourceDefinition (YAML).

Descriptions, and fields that only a cluster fills in, are left out. An unknown member is an error, as for `kubectl
apply`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
KINDS = (
    "configmap-v1",
    "cronjob-batch-v1",
    "deployment-apps-v1",
    "horizontalpodautoscaler-autoscaling-v2",
    "job-batch-v1",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "secret-v1",
    "service-v1",
    "serviceaccount-v1",
)
IGNORED = frozenset({"$id", "$schema", "description", "default", "example", "externalDocs", "status", "title"})


def main(*sources: Path) -> None:
    """Write every schema; those of Kubernetes go into a directory for each version."""
    for source in sources:
        if source.is_dir():
            _write_kubernetes(source, HERE / source.name.split("-")[0])
        else:
            for name, schema in _versions(yaml.safe_load(source.read_text("utf-8"))):
                _write(HERE / "crds" / name, schema)


def _write_kubernetes(source: Path, target: Path) -> None:
    definitions = json.loads((source / "_definitions.json").read_text("utf-8"))["$defs"]
    roots = {kind: json.loads((source / f"{kind}.json").read_text("utf-8")) for kind in KINDS}
    for kind, root in roots.items():
        _write(target / kind, root)
    needed = _needed(definitions, *roots.values())
    _write(target / "_definitions", {"$defs": {name: definitions[name] for name in needed}})


def _write(path: Path, schema: Mapping[str, Any]) -> None:
    text = json.dumps(_lean(schema), separators=(",", ":"), sort_keys=True).replace("/api/_definitions", "_definitions")
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".json").write_text(text + "\n", "utf-8")


def _versions(crd: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the schema of each served version, with the name that kubeconform searches for."""
    spec = crd["spec"]
    for version in spec["versions"]:
        if version["served"]:
            name = f"{spec['names']['kind'].lower()}-{spec['group'].split('.')[0]}-{version['name']}"
            yield name, _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """Return the schema without unknown members, except at places where the definition allows them."""
    if isinstance(schema, list):
        return [_strict(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(member) for name, member in schema.items()}
    if strict.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    closed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict


def _lean(schema: Any, *, is_schema: bool = True) -> Any:
    """Return the schema without annotations, which validate nothing. The members of `properties` are names, not
    keywords.
    """
    if isinstance(schema, list):
        return [_lean(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _lean(member, is_schema=not (is_schema and name in ("properties", "$defs")))
        for name, member in schema.items()
        if not (is_schema and (name in IGNORED or name.startswith("x-"))) and (is_schema or name != "status")
    }


def _needed(definitions: Mapping[str, Any], *roots: Any) -> set[str]:
    """Return the names of the definitions that the roots use, directly or not."""
    found, waiting = set[str](), set(_references(list(roots)))
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(_references(definitions[name])) - found
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].rsplit("/", 1)[-1]
        value = [member for name, member in value.items() if name != "status"]
    if isinstance(value, list):
        for member in value:
            yield from _references(member)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
