"""Tests the Helm chart with its examples: they equal Helm's output, and ragledger can read it."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from consumer.__main__ import app
from consumer.settings.loading import load
from consumer.settings.model import Settings, Topics
from consumer.settings.service_links import is_service_link
from tests.support.chart import CHART, EXAMPLES, ROOT, documents, golden, golden_objects, pods, wanted

OBJECTS = golden_objects()
PODS = list(pods(OBJECTS))
EVERY_EXAMPLE = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
EVERY_POD = pytest.mark.parametrize("pod", [pod for _, pod in PODS], ids=[name for name, _ in PODS])
FILES = "/etc/ragledger"
DSN = "postgresql://ledger_service:secret@db.example:5432/ragledger"


def objects(kind: str) -> list[dict[str, Any]]:
    """Return the objects of that kind in all examples; at least one."""
    found = [one for one in OBJECTS if one["kind"] == kind]
    assert found, kind
    return found


def around() -> list[dict[str, Any]]:
    """Return the objects that the examples need besides the chart."""
    return [
        one for example in EXAMPLES for file in example.glob("resources.yaml") for one in documents(file.read_text())
    ]


def container(pod: Mapping[str, Any]) -> Any:
    """Return the only container of a pod."""
    (only,) = pod["containers"]
    return only


# ── committed files ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_versions_are_the_projects() -> None:
    """Chart and application are released together, with one version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert {chart["version"], chart["appVersion"]} == {version}


@EVERY_EXAMPLE
def test_the_rendered_examples_are_current(example: Path) -> None:
    """`python -m tests.support.chart` would change nothing."""
    assert golden(example) == wanted(example)


# ── the settings of the service ──────────────────────────────────────────────────────────────────────────────────────


def mounted_files(pod: Mapping[str, Any]) -> dict[str, str]:
    """Write the files of the settings' volume with possible content."""
    volumes = [volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "settings"]
    items = [item for sources in volumes for source in sources for item in next(iter(source.values()))["items"]]
    return {item["path"]: DSN if item["path"].endswith("DSN") else "s" * 32 for item in items}


@pytest.fixture
def environment(pod: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a pod's container, with its files in a directory of the test."""
    for name, content in mounted_files(pod).items():
        (tmp_path / name).write_text(content)
    for name in [name for name in os.environ if name.startswith("RAGLEDGER_")]:
        monkeypatch.delenv(name)
    variables = {one["name"]: one["value"].replace(FILES, str(tmp_path)) for one in container(pod)["env"]}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@EVERY_POD
def test_the_service_accepts_its_settings(environment: Mapping[str, str]) -> None:
    """Our settings accept every variable and every file of every pod, with their values."""
    settings = load()
    assert settings.postgres.dsn.get_secret_value() == DSN
    assert settings.kafka.bootstrap_servers == environment["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]


@EVERY_POD
def test_secrets_are_files(pod: Mapping[str, Any]) -> None:
    """No variable is a secret or comes from one; mounted files are readable for their owner and the pod's group."""
    hidden = {f"RAGLEDGER_{path}" for path in ("POSTGRES__DSN", "KAFKA__SASL_PASSWORD", "ERASURE__KEY")}
    assert [one for one in container(pod)["env"] if "valueFrom" in one or one["name"] in hidden] == []
    assert "envFrom" not in container(pod)
    modes = [volume["projected"]["defaultMode"] for volume in pod["volumes"] if "projected" in volume]
    assert modes == [0o440]


@EVERY_POD
def test_every_command_is_valid(pod: Mapping[str, Any]) -> None:
    """The command of every pod can be parsed, with its options."""
    command: Any = get_command(app)
    words = list(container(pod)["args"])
    while hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    command.make_context("ragledger", words)


def test_variables_from_kubernetes_services_are_ignored() -> None:
    """They are recognised even if service links are not disabled."""
    for service in objects("Service"):
        name = service["metadata"]["name"].upper().replace("-", "_")
        (port,) = service["spec"]["ports"]
        number, named = port["port"], port["name"].upper()
        links = {
            f"{name}_SERVICE_HOST": "10.96.0.7",
            f"{name}_SERVICE_PORT": str(number),
            f"{name}_SERVICE_PORT_{named}": str(number),
            f"{name}_PORT": f"tcp://10.96.0.7:{number}",
            f"{name}_PORT_{number}_TCP": f"tcp://10.96.0.7:{number}",
            f"{name}_PORT_{number}_TCP_PROTO": "tcp",
            f"{name}_PORT_{number}_TCP_PORT": str(number),
            f"{name}_PORT_{number}_TCP_ADDR": "10.96.0.7",
        }
        assert [link for link in links.items() if not is_service_link(*link)] == []


# ── how pods run ─────────────────────────────────────────────────────────────────────────────────────────────────────


@EVERY_POD
def test_every_pod_is_restricted(pod: Mapping[str, Any]) -> None:
    """It meets the restricted Pod Security Standard, writes only to its own temporary files, and has no token."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "projected", "emptyDir"}
    assert [mount["mountPath"] for mount in container(pod)["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]


@EVERY_POD
def test_every_pod_runs_as_the_image_does(pod: Mapping[str, Any]) -> None:
    """It has the user of the Dockerfile."""
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert user
    context = pod["securityContext"]
    assert [context["runAsUser"], context["runAsGroup"], context["fsGroup"]] == [
        int(user[1]),
        int(user[2]),
        int(user[2]),
    ]


def test_a_replica_has_enough_time_to_stop() -> None:
    """It is killed after its own limits: the time to write, 5 s to leave the group, 5 s to close connections."""
    for deployment in objects("Deployment"):
        grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > Settings().shutdown.timeout_s + 10


def test_the_watchdog_acts_before_the_kubelet() -> None:
    """A process without progress logs the reason and ends by itself."""
    for deployment in objects("Deployment"):
        probe = container(deployment["spec"]["template"]["spec"])["livenessProbe"]
        assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > Settings().watchdog.blocked_s


def test_the_selectors_match_the_replicas_and_no_job() -> None:
    """Deployment, Service, PodDisruptionBudget and PodMonitor select only the Deployment's pods."""
    for example in EXAMPLES:
        here = [one for text in golden(example).values() for one in documents(text)]
        (replica,) = [one["spec"]["template"]["metadata"]["labels"] for one in here if one["kind"] == "Deployment"]
        jobs = [one["spec"]["template"] for one in here if one["kind"] == "Job"]
        jobs += [one["spec"]["jobTemplate"]["spec"]["template"] for one in here if one["kind"] == "CronJob"]
        selectors = [
            one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
            for one in here
            if one["kind"] in ("Deployment", "Service", "PodDisruptionBudget", "PodMonitor")
        ]
        assert len(selectors) >= 3
        for selector in selectors:
            assert selector.items() <= replica.items()
            assert [job for job in jobs if selector.items() <= job["metadata"]["labels"].items()] == []


def test_the_migration_is_a_hook() -> None:
    """It runs before an installation and an upgrade, with an account that exists by then."""
    created = {one["metadata"]["name"] for one in objects("ServiceAccount")}
    for job in objects("Job"):
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert job["spec"]["template"]["spec"]["serviceAccountName"] not in created
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


# ── monitoring and scaling ───────────────────────────────────────────────────────────────────────────────────────────


def test_keda_uses_every_topic_that_is_read() -> None:
    """The topics, the group and the start without an offset are those of the service."""
    for scaled in objects("ScaledObject"):
        triggers = [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]
        assert {one["topic"] for one in triggers} == set(Topics().consumed)
        kafka = Settings().kafka
        for one in triggers:
            assert one["consumerGroup"] == kafka.group_id
            assert one["offsetResetPolicy"] == kafka.start_from
            assert one["excludePersistentLag"] == "true"
        assert scaled["spec"]["minReplicaCount"] >= 1
        behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_a_scaled_deployment_has_no_number_of_replicas() -> None:
    """Otherwise every upgrade would reset it."""
    scaled = {one["kind"] for one in OBJECTS} & {"ScaledObject", "HorizontalPodAutoscaler"}
    assert len(scaled) == 2
    for example in EXAMPLES:
        here = [one for text in golden(example).values() for one in documents(text)]
        is_scaled = any(one["kind"] in scaled for one in here)
        (deployment,) = [one for one in here if one["kind"] == "Deployment"]
        assert ("replicas" in deployment["spec"]) is not is_scaled


def test_the_job_label_is_the_one_of_the_alerts() -> None:
    """The operator's own label would differ."""
    assert 'up{job="ragledger"}' in (ROOT / "deploy" / "prometheus" / "rules" / "ingestion.yml").read_text("utf-8")
    for monitor in objects("PodMonitor") + objects("ServiceMonitor"):
        (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "job", "replacement": "ragledger"}]


# ── resources around the chart ───────────────────────────────────────────────────────────────────────────────────────


def test_the_topics_of_the_example_are_those_of_the_settings() -> None:
    """Each topic is created, and no other."""
    assert {one["metadata"]["name"] for one in around() if one["kind"] == "KafkaTopic"} == set(Topics().named.values())


def test_every_secret_of_the_examples_is_created() -> None:
    """An object of the example creates it, or the example gives the command."""
    for example in EXAMPLES:
        text = "".join(file.read_text("utf-8") for file in example.glob("*.yaml"))
        own = [one for text in golden(example).values() for one in documents(text)]
        for pod in [pod for _, pod in pods(own)]:
            volumes = [volume["projected"]["sources"] for volume in pod["volumes"] if "projected" in volume]
            for source in [next(iter(one.values())) for sources in volumes for one in sources]:
                made = source["name"].removesuffix("-app").removesuffix("-ca").removesuffix("-cluster-ca-cert")
                assert re.search(rf"(name: |generic |named `){made}\b", text), source["name"]
