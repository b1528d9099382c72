"""Tests the Dockerfile, the compose file, the dashboards and the workflow without a container engine."""

import importlib.metadata
import json
import re
import shlex
import tomllib
from typing import Any, NamedTuple

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from consumer.admin.publish import lines, validate
from consumer.devstack.jars import KAFKA_VERSION
from consumer.events.registry import kinds_by_topic
from consumer.settings.model import Http, Topics
from tests.support.compose import ROOT, load_compose, load_services

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
SERVICES = load_services()
ONE_SHOTS = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
PERMANENT = SERVICES.keys() - ONE_SHOTS
PINNED = re.compile(r"[a-z0-9/-]+:v?\d[\w.-]*")


class Instruction(NamedTuple):
    """One instruction of the Dockerfile."""

    name: str
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """Return its command, an array of strings without a shell."""
        command: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return command


def instructions() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage; those before the first are left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def final(name: str) -> Instruction:
    (instruction,) = [one for one in stages()[-1] if one.name == name]
    return instruction


def test_two_stages_share_a_base_image_that_can_be_replaced() -> None:
    """Both begin with one pinned image, which a build argument can replace."""
    assert [stage[0].rest.split()[0] for stage in stages()] == ["${PYTHON_IMAGE}"] * 2
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """Kubernetes needs the number to verify that it is not root."""
    user, group = final("USER").rest.split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_commands_are_not_run_by_a_shell() -> None:
    """Signals reach the program itself: entry point, command and health check are arrays."""
    assert final("ENTRYPOINT").exec_form == ["ragledger"]
    assert final("CMD").exec_form == ["run"]
    assert final("STOPSIGNAL").rest == "SIGTERM"
    python, option, code = final("HEALTHCHECK").exec_form
    assert (python, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "/healthz" in code


def test_the_image_has_the_port_and_the_version() -> None:
    """The port is the default of the settings. The version is that of the project."""
    assert final("EXPOSE").rest == str(Http().port)
    assert Instruction("ARG", f"VERSION={PROJECT['version']}") in stages()[-1]


def test_everything_installed_is_pinned_by_hash() -> None:
    """Each package from the network is compared with a hash, and no index is named."""
    installs = [one.rest for one in instructions() if one.name == "RUN" and " install" in one.rest]
    for part in [part for rest in installs for part in rest.split("&&") if " install" in part]:
        assert "--require-hashes" in part or "--no-index" in part
    assert not re.search(r"https?://|index-url|find-links|trusted-host|PIP_(?!DISABLE|NO_CACHE)", " ".join(installs))


def pinned(file: str) -> set[str]:
    text = (ROOT / "requirements" / file).read_text("utf-8")
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_the_image_installs_the_requirements_of_the_project() -> None:
    """Every dependency is in the pinned requirements; otherwise run `make lock`."""
    wanted = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert wanted - pinned("runtime.txt") == set()


def closure(name: str) -> set[str]:
    """Return a distribution and its dependencies on this Python."""
    needed = map(Requirement, importlib.metadata.requires(name) or ())
    names = [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {canonicalize_name(name)}.union(*map(closure, names))


def test_the_builder_installs_hatchling_and_its_dependencies() -> None:
    """The selected development requirements are exactly those for building a wheel."""
    picked = re.search(r"wanted = /\^\(([a-z|-]+)\)==/", DOCKERFILE)
    assert picked
    assert set(picked[1].split("|")) == closure("hatchling")


def test_the_build_context_holds_only_what_is_copied() -> None:
    """Everything is ignored except the files that the Dockerfile copies."""
    patterns = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert patterns[1] == "*"
    allowed = {pattern[1:].split("/")[0] for pattern in patterns if pattern.startswith("!")}
    copies = [shlex.split(one.rest)[:-1] for one in stages()[0] if one.name == "COPY"]
    assert allowed == {source.rstrip("/") for sources in copies for source in sources}


def test_the_compose_file_follows_the_specification() -> None:
    """The schema of the Compose Specification accepts it."""
    schema = json.loads((ROOT / "tests" / "meta" / "compose-spec.json").read_text("utf-8"))
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(content)] == []


def test_images_are_pinned_and_have_no_registry() -> None:
    """An image has a version and no registry host; our own is built and never pulled."""
    for service in SERVICES.values():
        if service["image"] == "ragledger:local":
            assert service["pull_policy"] == "never"
        else:
            assert PINNED.fullmatch(service["image"])
    assert SERVICES["ragledger"]["build"] == "."
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_every_permanent_service_has_a_health_check_and_is_restarted() -> None:
    """A service that ends by itself has neither."""
    assert {"topics", "migrate", "publisher"} == ONE_SHOTS
    for name in PERMANENT:
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["restart"] == "unless-stopped"
    for name in ONE_SHOTS:
        assert SERVICES[name]["healthcheck"] == {"disable": True}


def test_every_service_is_waited_for_correctly() -> None:
    """A service that ends is awaited until completion (otherwise `up --wait` fails), a permanent one until it is
    healthy.
    """
    dependencies = [one for service in SERVICES.values() for one in service.get("depends_on", {}).items()]
    for name, dependency in dependencies:
        expected = "service_completed_successfully" if name in ONE_SHOTS else "service_healthy"
        assert dependency == {"condition": expected}
    assert {name for name, _ in dependencies} >= ONE_SHOTS


def test_ports_are_open_only_to_this_machine() -> None:
    """Every port is bound to the loopback address."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_exist() -> None:
    """Every named volume is declared and used; every mounted path is in the repository."""
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert {mount for mount in mounts if "/" not in mount} == load_compose()["volumes"].keys()
    assert [mount for mount in mounts if "/" in mount and not (ROOT / mount).is_dir()] == []


def test_passwords_are_marked_as_local() -> None:
    """The default of a password says that it is only for this machine."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    defaults = re.findall(r"\$\{\w*PASSWORD:-([^}]*)\}", text)
    assert len(re.findall(r"\$\{\w*PASSWORD", text)) == len(defaults)
    assert all(default.startswith("dev-only-") for default in defaults)


def test_the_service_has_enough_time_to_stop() -> None:
    """The container is killed after the service's own limits."""
    service = SERVICES["ragledger"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > int(service["environment"]["RAGLEDGER_SHUTDOWN__TIMEOUT_S"]) + 10


def test_the_topics_of_the_settings_are_created() -> None:
    """Each topic that the service reads by default exists before it starts."""
    assert set(Topics().named.values()) <= set(SERVICES["topics"]["environment"]["TOPICS"].split())


@pytest.mark.parametrize(("file", "topic"), [("dialogues", "rag.dialogue"), ("provenance", "rag.provenance")])
def test_the_samples_are_valid(file: str, topic: str) -> None:
    """Every event that the demo publishes would become a row."""
    with (ROOT / "deploy" / "samples" / f"{file}.jsonl").open("rb") as content:
        good, bad = validate(kinds_by_topic(Topics())[topic], topic, lines(content), now_ms=0)
    assert len(good) >= 20
    assert bad == []


def test_prometheus_scrapes_the_service() -> None:
    """The target has the service's name and port."""
    scrapes = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {one["job_name"]: one["static_configs"][0]["targets"] for one in scrapes}
    assert targets["ragledger"] == [f"ragledger:{Http().port}"]


def test_the_workflow_runs_the_same_commands_as_people() -> None:
    """Both Pythons run `make check` and all tests; the Docker job runs the compose file and the tests on containers."""
    test, docker = WORKFLOW["jobs"]["test"], WORKFLOW["jobs"]["docker"]
    assert test["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    commands = [step.get("run", "").split(" PYTHON=")[0] for step in test["steps"]]
    assert {"make check", "make --keep-going test test-all"} <= set(commands)
    assert any(step.get("env") == {"RAGLEDGER_TEST_STACK": "docker"} for step in docker["steps"])
    script = "\n".join(step.get("run", "") for step in docker["steps"])
    for command in ("compose build", "compose up --detach --wait", "compose down --volumes"):
        assert f"docker {command}" in script
