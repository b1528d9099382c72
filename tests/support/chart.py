"""The Helm chart: its output for given values, and its committed examples. `python -m tests.support.chart`
renders the examples again.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "ragledger"
EXAMPLES = sorted(values.parent for values in CHART.glob("examples/*/values.yaml"))
# Copies of files in deploy/, which need no second copy here.
LEFT_OUT = frozenset({"PrometheusRule", "ConfigMap"})
_OLDEST_KUBERNETES = "1.27.0"


def program(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def helm(*arguments: str | Path) -> str:
    """Return Helm's standard output. Raises ValueError with Helm's message if it fails."""
    command = [program("helm"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ValueError(done.stdout + done.stderr)
    return done.stdout


def template(*arguments: str | Path, name: str = "ragledger") -> str:
    """Return the chart's output for `--values` and `--set`, in the namespace `rag`."""
    return helm("template", name, CHART, "--namespace", "rag", "--kube-version", _OLDEST_KUBERNETES, *arguments)


def documents(text: str) -> list[dict[str, Any]]:
    """Return the objects of a text with YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(*arguments: str | Path, name: str = "ragledger") -> list[dict[str, Any]]:
    """Return the objects of the chart."""
    return documents(template(*arguments, name=name))


def values(**members: Any) -> Sequence[str]:
    """Return arguments for Helm that set values, such as `autoscaling={"kind": "hpa"}`."""
    return [argument for name, value in members.items() for argument in ("--set-json", f"{name}={json.dumps(value)}")]


def golden(example: Path) -> Mapping[str, str]:
    """Return the committed output of an example, by the name of the template."""
    return {path.name: path.read_text("utf-8") for path in sorted((example / "rendered").glob("*.yaml"))}


def golden_objects() -> list[dict[str, Any]]:
    """Return the objects of all committed examples."""
    return [one for example in EXAMPLES for text in golden(example).values() for one in documents(text)]


def wanted(example: Path) -> Mapping[str, str]:
    """Return the expected output of an example, by the name of the template."""
    files: dict[str, str] = {}
    for text in template("--values", example / "values.yaml").split("---\n# Source: ragledger/templates/")[1:]:
        name, _, content = text.partition("\n")
        if not _is_left_out(content):
            files[name] = files.get(name, "") + "---\n" + content.rstrip() + "\n"
    return files


def _is_left_out(content: str) -> bool:
    return any(one["kind"] in LEFT_OUT for one in documents(content))


def pods(objects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the specification of each pod, with the name of its object."""
    for one in objects:
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one.get("spec", {})
        if one["kind"] in ("CronJob", "Deployment", "Job"):
            yield f"{one['kind']}/{one['metadata']['name']}", spec["template"]["spec"]


def _write() -> None:
    for example in EXAMPLES:
        shutil.rmtree(example / "rendered", ignore_errors=True)
        (example / "rendered").mkdir()
        for name, text in wanted(example).items():
            (example / "rendered" / name).write_text(text, "utf-8")


if __name__ == "__main__":
    _write()
