"""Tests Helm's output for values that no example has, and the values it refuses."""

import json
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.settings.loading import known_variables
from consumer.settings.model import Settings
from tests.support.chart import CHART, EXAMPLES, ROOT, documents, helm, pods, program, rendered, template, values

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = sorted(directory.name for directory in SCHEMAS.glob("v*"))
LONGEST_NAME = "release-".ljust(53, "x")
KEDA = {"autoscaling": {"kind": "keda"}}
KAFKA = {"secret": "kafka", "key": "value"}
# First everything that is off by default, then the other state of each switch.
EVERYTHING = {
    "commonLabels": {"team": "rag"},
    "image": {"repository": "registry.example/ragledger", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {"kafka": {"security_protocol": "SASL_SSL"}, "batch": {"max_bytes": 33_554_432}},
    "settingsFrom": {
        "kafka": {"sasl_username": KAFKA, "sasl_password": KAFKA, "ssl_cafile": {"configMap": "ca", "key": "ca.pem"}},
        "postgres": {"dsn": {"secret": "db", "key": "dsn"}},
        "slo": {"file": {"configMap": "slo", "key": "slo.yml"}},
    },
    "cronJobs": {
        **{name: {"enabled": True} for name in ("retention", "ledger", "doctor")},
        "mine": {"enabled": True, "schedule": "0 0 * * *", "args": ["migrate", "verify"]},
    },
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "topologySpreadConstraints": [],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "rag", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "podAnnotations": {"example/note": "true"},
    "podLabels": {"azure.workload.identity/use": "true"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "serviceAccount": {"annotations": {"example/role": "writer"}},
    "service": {"annotations": {"example/note": "true"}},
    "monitor": {"kind": "ServiceMonitor", "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True, "annotations": {"folder": "RAG"}},
    "networkPolicy": {"enabled": True, "extraEgress": [{"ports": [{"port": 443}]}]},
}


def only(kind: str, *arguments: str | Path, name: str = "ragledger") -> dict[str, Any]:
    """Return the only object of that kind."""
    (found,) = [one for one in rendered(*arguments, name=name) if one["kind"] == kind]
    return found


def environment(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a pod's container."""
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"]}


def check(*files: Path, text: str | None = None) -> None:
    """Check objects against the schemas of their kinds, of the oldest Kubernetes that the chart supports and of a new
    one.

    Raises:
        AssertionError: Kubernetes would not accept an object.
    """
    for version in KUBERNETES:
        places = [str(SCHEMAS / name / "{{.ResourceKind}}{{.KindSuffix}}.json") for name in (version, "crds")]
        locations = [argument for place in places for argument in ("-schema-location", place)]
        command = [program("kubeconform"), "-strict", *locations, *map(str, files)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# ── valid Kubernetes objects ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_examples_are_valid_for_kubernetes(example: Path) -> None:
    """Every object of an example matches the schema of its kind, resources and rendered objects included."""
    helm("lint", "--strict", CHART, "--values", example / "values.yaml")
    check(text=template("--values", example / "values.yaml"))
    check(*example.glob("resources.yaml"), *(example / "rendered").glob("*.yaml"))


@pytest.mark.thorough
@pytest.mark.parametrize("scaling", ["keda", "hpa", ""])
def test_all_options_together_are_valid_for_kubernetes(scaling: str) -> None:
    """Every switch is on."""
    text = template(*values(**EVERYTHING, autoscaling={"kind": scaling}), name=LONGEST_NAME)
    check(text=text)
    names = [one["metadata"]["name"] for one in documents(text)]
    assert max(map(len, names)) <= 63
    crons = [one["metadata"]["name"] for one in documents(text) if one["kind"] == "CronJob"]
    assert len(set(crons)) == 4
    assert max(map(len, crons)) <= 52


def test_the_oldest_kubernetes_is_checked() -> None:
    """The first schemas are those of the oldest version that the chart supports."""
    asked = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["kubeVersion"]
    assert asked == f">= {KUBERNETES[0].removeprefix('v')}-0"


def test_the_chart_without_values_is_valid_for_kubernetes() -> None:
    helm("lint", "--strict", CHART)
    check(text=template())


def test_a_misspelt_member_is_found(tmp_path: Path) -> None:
    """The schemas are strict."""
    mistaken = tmp_path / "deployment.yaml"
    mistaken.write_text(template().replace("readinessProbe", "redinessProbe"))
    with pytest.raises(AssertionError, match="redinessProbe"):
        check(mistaken)


def test_the_packed_chart_is_complete(tmp_path: Path) -> None:
    """Linked files are in the package, and files for the repository are not."""
    helm("package", CHART, "--destination", tmp_path)
    (packed,) = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    assert not [name for name in names if "examples" in name]
    render = ("--namespace", "rag", "--values", EXAMPLES[-1] / "values.yaml")
    assert helm("template", "ragledger", packed, *render) == helm("template", "ragledger", CHART, *render)


@pytest.mark.parametrize("example", [None, *EXAMPLES], ids=lambda example: example.name if example else "none")
def test_the_notes_warn_of_missing_values(example: Path | None) -> None:
    """They name the addresses of Kafka and PostgreSQL if the values do not."""
    given: Sequence[str | Path] = ["--values", example / "values.yaml"] if example else []
    notes = helm("install", "ragledger", CHART, "--dry-run=client", *given).split("\nNOTES:\n")[1]
    assert "ragledger doctor" in notes
    assert notes.count("WARNING") == (0 if example else 2)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_setting_can_be_set() -> None:
    """Each that is not a secret reaches the service with its default."""
    known = yaml.safe_load((CHART / "files" / "settings.yaml").read_text("utf-8"))["defaults"]
    deployment = only("Deployment", *values(settings=known))
    given = environment(deployment["spec"]["template"]["spec"])
    fields = {name: field.default for name, field in known_variables().items() if field.default is not None}
    assert given.keys() == fields.keys() - {"RAGLEDGER_POSTGRES__DSN"}
    for name, value in given.items():
        group, setting = name.removeprefix("RAGLEDGER_").lower().split("__")
        read = getattr(getattr(Settings(**{group: {setting: value}}), group), setting)
        assert read == fields[name]


def test_a_large_number_is_not_changed() -> None:
    """Helm reads numbers as floating-point; none gets an exponent."""
    deployment = only("Deployment", *values(**EVERYTHING))
    assert environment(deployment["spec"]["template"]["spec"])["RAGLEDGER_BATCH__MAX_BYTES"] == "33554432"


def test_a_job_has_its_own_settings() -> None:
    """They override the chart's for that job."""
    dsn = {"postgres": {"dsn": {"secret": "owner", "key": "dsn"}}}
    migration = {"settings": {"postgres": {"pgbouncer": False}}, "settingsFrom": dsn}
    settings = {"postgres": {"pgbouncer": True}, "kafka": {"group_id": "mine"}}
    arguments = values(settings=settings, settingsFrom=EVERYTHING["settingsFrom"], migration=migration)
    found = dict(pods(rendered(*arguments)))
    service, job = found["Deployment/ragledger"], found["Job/ragledger-migrate"]
    assert environment(service)["RAGLEDGER_POSTGRES__PGBOUNCER"] == "true"
    assert environment(job)["RAGLEDGER_POSTGRES__PGBOUNCER"] == "false"
    assert environment(job)["RAGLEDGER_KAFKA__GROUP_ID"] == "mine"
    assert "owner" in json.dumps(job)
    assert "owner" not in json.dumps(service)


REFUSED: Sequence[tuple[dict[str, Any], str]] = [
    ({"settings": {"kafka": {"sasl_password": "x"}}}, "'/settings/kafka': additional properties 'sasl_password'"),
    ({"settings": {"postgres": {"dsn": "postgresql://x"}}}, "'/settings/postgres': additional properties 'dsn'"),
    ({"settings": {"kafka": {"grup_id": "x"}}}, "'/settings/kafka': additional properties 'grup_id'"),
    ({"settings": {"batch": {"max_rows": 0}}}, "'/settings/batch/max_rows': minimum"),
    ({"settings": {"batch": {"max_rows": "many"}}}, "'/settings/batch/max_rows': got string"),
    ({"settings": {"kafka": {"start_from": "now"}}}, "'/settings/kafka/start_from': value must be one of"),
    ({"settings": {"http": {"port": 0}}}, "settings.http.port=0"),
    ({"settingsFrom": {"postgres": {"dsn": {"configMap": "x", "key": "y"}}}}, "properties 'configMap' not allowed"),
    ({"settingsFrom": {"postgres": {"dsn": {"secret": "x"}}}}, "missing property 'key'"),
    ({"settings": {"slo": {"file": "x"}}, "settingsFrom": EVERYTHING["settingsFrom"]}, "slo.file is in settings and"),
    ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds=30"),
    ({"autoscaling": {"kind": "keda", "minReplicas": 0}}, "'/autoscaling/minReplicas': minimum"),
    ({"autoscaling": {"kind": "hpa", "minReplicas": 5}}, "autoscaling.maxReplicas=4 is less"),
    ({"autoscaling": {"kind": "both"}}, "'/autoscaling/kind': value must be one of"),
    ({**KEDA, "settingsFrom": {"kafka": {"group_id": KAFKA}}}, "move it to settings.kafka.group_id"),
    ({**KEDA, "settingsFrom": {"topics": {"dialogue": KAFKA}}}, "move it to settings.topics.dialogue"),
    ({"monitor": {"kind": "ServiceMonitor"}, "service": {"enabled": False}}, "needs service.enabled=true"),
    ({"cronJobs": {"mine": {"schedule": "0 0 * * *"}}}, "'/cronJobs/mine': missing property 'args'"),
    ({"replicas": 3}, "additional properties 'replicas'"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_wrong_values_are_refused(given: Mapping[str, Any], said: str) -> None:
    """The message names the wrong value, before anything is installed."""
    with pytest.raises(ValueError, match=re.escape(said)):
        template(*values(**given))


# ── copied files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_alerts_are_those_of_the_repository() -> None:
    """Every group of every file is compared, with the address of the runbook before each path."""
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    arguments = values(prometheusRule={"enabled": True, "runbooks": "https://docs.example/"})
    groups = only("PrometheusRule", *arguments)["spec"]["groups"]
    texts = [file.read_text("utf-8").replace("runbook_url: ", "runbook_url: https://docs.example/") for file in files]
    assert "".join(texts).count("https://docs.example/docs/") > 20
    assert groups == [group for one in texts for group in yaml.safe_load(one)["groups"]]


def test_the_rules_for_the_objectives_can_be_left_out() -> None:
    """This is for users with objectives of their own."""
    groups = only("PrometheusRule", *values(prometheusRule={"enabled": True, "objectives": False}))["spec"]["groups"]
    assert groups
    assert [group["name"] for group in groups if "slo" in group["name"]] == []


def test_the_dashboards_are_those_of_the_repository() -> None:
    """Each file is unchanged."""
    data = only("ConfigMap", *values(dashboards={"enabled": True}))["data"]
    files = {f"ragledger-{file.name}": file for file in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")}
    assert data.keys() == files.keys()
    for name, file in files.items():
        assert json.loads(data[name]) == json.loads(file.read_text("utf-8"))


@pytest.mark.parametrize(
    ("mechanism", "called"),
    [("PLAIN", "plaintext"), ("SCRAM-SHA-256", "scram_sha256"), ("SCRAM-SHA-512", "scram_sha512")],
)
def test_keda_logs_in_as_the_service_does(mechanism: str, called: str) -> None:
    """It uses SASL and TLS with the service's own Secrets. A plain user name comes from the service's variable."""
    kafka = {"security_protocol": "SASL_SSL", "sasl_mechanism": mechanism, "sasl_username": "rag"}
    password = {"sasl_password": {"secret": "kafka", "key": "password"}}
    made = rendered(*values(settings={"kafka": kafka}, settingsFrom={"kafka": password}, autoscaling={"kind": "keda"}))
    (scaled,) = [one["spec"] for one in made if one["kind"] == "ScaledObject"]
    (login,) = [one["spec"] for one in made if one["kind"] == "TriggerAuthentication"]
    for trigger in scaled["triggers"]:
        assert trigger["metadata"]["sasl"] == called
        assert trigger["metadata"]["tls"] == "enable"
    assert login["secretTargetRef"] == [{"parameter": "password", "name": "kafka", "key": "password"}]
    variable = {"parameter": "username", "name": "RAGLEDGER_KAFKA__SASL_USERNAME", "containerName": "ragledger"}
    assert login["env"] == [variable]
