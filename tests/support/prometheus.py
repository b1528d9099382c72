"""Debian's Prometheus: promtool, and a server that scrapes the services of the tests."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.devstack.server import Server, free_ports, silent
from consumer.devstack.workspace import Workspace
from tests.support.compose import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULES: list[dict[str, Any]] = [
    rule
    for file in RULE_FILES
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDS = [rule for rule in RULES if "record" in rule]
TIMEOUT_S = 30.0
QUICK = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}


def program(name: str) -> str:
    """Return the path of a program of the package `prometheus`; skip the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        # Nobody reads the list of skipped tests in CI.
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed (on Debian and Ubuntu: apt-get install prometheus)")
    return found


def promtool(*arguments: str | Path) -> str:
    """Return promtool's output; it must report no problem."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class PrometheusServer(Server):
    """The deployed configuration on the loopback interface, with other targets and short intervals."""

    def __init__(self, workspace: Workspace, targets: Mapping[str, Sequence[str]]) -> None:
        """Choose a port; `targets` are addresses by job name."""
        super().__init__(workspace, "prometheus", silent)
        self._program = program("prometheus")
        self._targets = targets
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        self._data = workspace.directory / "prometheus"
        self._configuration = workspace.directory / "prometheus.yml"

    def _prepare(self) -> None:
        content = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
        content["global"] |= QUICK
        content["rule_files"] = [str(PROMETHEUS / pattern) for pattern in content["rule_files"]]
        targets = {"prometheus": [self._address], **self._targets}
        for job in content["scrape_configs"]:
            job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
        self._configuration.write_text(yaml.safe_dump(content))

    def _command(self) -> list[str | Path]:
        options = {
            "config.file": self._configuration,
            "storage.tsdb.path": self._data,
            "web.listen-address": self._address,
        }
        return [self._program, *(f"--{name}={value}" for name, value in options.items())]

    def _is_ready(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str, **parameters: str) -> bytes:
        address = f"http://{self._address}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
            content: bytes = response.read()
        return content

    def _api(self, path: str, **parameters: str) -> Any:
        try:
            return json.loads(self._get(f"/api/v1/{path}", **parameters))["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.loads(error.read())['error']}") from error

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the series of an instant query, each with its present value.

        Raises:
            AssertionError: Prometheus refuses the query; the message is that of Prometheus.
        """
        result = self._api("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expression: str) -> float | None:
        """Return the value of a query that gives at most one series."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def label_values(self, metric: str, label: str) -> set[str]:
        """Return the values that Grafana offers for a variable."""
        return set(self._api(f"label/{label}/values", **{"match[]": metric}))

    def rules(self) -> list[dict[str, Any]]:
        """Return every loaded rule with its health and its last error."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]
