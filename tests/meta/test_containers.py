"""The Dockerfile, the compose file, the dashboards and the workflow: what can be said of them without an engine."""

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

from consumer.admin.publish import lines, sort_out
from consumer.devstack.jars import KAFKA_VERSION
from consumer.events.registry import kinds_by_topic
from consumer.settings.model import Http, Topics
from tests.support.compose import ROOT, load_compose, load_services

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
SERVICES = load_services()
ONE_SHOTS = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
STAYING = SERVICES.keys() - ONE_SHOTS
PINNED = re.compile(r"[a-z0-9/-]+:v?\d[\w.-]*")


class Instruction(NamedTuple):
    """One instruction of the Dockerfile."""

    name: str
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """Its command, which is no shell's: an array of strings."""
        command: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return command


def instructions() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage; those before the first are left out."""
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


def test_two_stages_share_a_base_that_may_be_another() -> None:
    """What builds and what runs begin with one image, pinned, that a build argument replaces."""
    assert [stage[0].rest.split()[0] for stage in stages()] == ["${PYTHON_IMAGE}"] * 2
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """The user is a number, as Kubernetes needs to see that it is not root."""
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


def test_the_image_knows_the_port_and_the_version() -> None:
    """The port is the default of the settings, the version that of the project."""
    assert final("EXPOSE").rest == str(Http().port)
    assert Instruction("ARG", f"VERSION={PROJECT['version']}") in stages()[-1]


def test_everything_installed_is_pinned_by_hash() -> None:
    """Each package that pip takes from the network is held against a hash, from no place that is named here."""
    installs = [one.rest for one in instructions() if one.name == "RUN" and " install" in one.rest]
    for part in [part for rest in installs for part in rest.split("&&") if " install" in part]:
        assert "--require-hashes" in part or "--no-index" in part
    assert not re.search(r"https?://|index-url|find-links|trusted-host|PIP_(?!DISABLE|NO_CACHE)", " ".join(installs))


def pinned(file: str) -> set[str]:
    text = (ROOT / "requirements" / file).read_text("utf-8")
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_what_the_image_installs_is_what_the_project_needs() -> None:
    """Every dependency of the project is among the pinned requirements, or `make lock` was forgotten."""
    wanted = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert wanted - pinned("runtime.txt") == set()


def closure(name: str) -> set[str]:
    """A distribution and all that it needs on this Python."""
    needed = map(Requirement, importlib.metadata.requires(name) or ())
    names = [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {canonicalize_name(name)}.union(*map(closure, names))


def test_the_builder_takes_hatchling_and_all_it_needs() -> None:
    """The names picked from the development requirements are those that building a wheel takes."""
    picked = re.search(r"wanted = /\^\(([a-z|-]+)\)==/", DOCKERFILE)
    assert picked
    assert set(picked[1].split("|")) == closure("hatchling")


def test_the_build_context_holds_only_what_is_copied() -> None:
    """Everything is ignored but what the Dockerfile copies."""
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


def test_images_are_pinned_and_from_nowhere_in_particular() -> None:
    """An image has a version and no host of a registry; our own is built and never pulled."""
    for service in SERVICES.values():
        if service["image"] == "ragledger:local":
            assert service["pull_policy"] == "never"
        else:
            assert PINNED.fullmatch(service["image"])
    assert SERVICES["ragledger"]["build"] == "."
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_every_service_that_stays_has_a_health_check_and_comes_back() -> None:
    """What stays up is checked and restarted; what ends by itself is neither."""
    assert {"topics", "migrate", "publisher"} == ONE_SHOTS
    for name in STAYING:
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["restart"] == "unless-stopped"
    for name in ONE_SHOTS:
        assert SERVICES[name]["healthcheck"] == {"disable": True}


def test_nothing_is_waited_for_in_vain() -> None:
    """Who ends is awaited to end well, by somebody (or `up --wait` fails); who stays, to be healthy."""
    dependencies = [one for service in SERVICES.values() for one in service.get("depends_on", {}).items()]
    for name, dependency in dependencies:
        expected = "service_completed_successfully" if name in ONE_SHOTS else "service_healthy"
        assert dependency == {"condition": expected}
    assert {name for name, _ in dependencies} >= ONE_SHOTS


def test_ports_are_open_to_this_machine_only() -> None:
    """Every port is bound to the loopback address."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_are_there() -> None:
    """Every named volume is declared and used, every mounted path is in the repository."""
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert {mount for mount in mounts if "/" not in mount} == load_compose()["volumes"].keys()
    assert [mount for mount in mounts if "/" in mount and not (ROOT / mount).is_dir()] == []


def test_passwords_are_marked_as_good_for_nothing_else() -> None:
    """A password has a default that says what it is good for."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    defaults = re.findall(r"\$\{\w*PASSWORD:-([^}]*)\}", text)
    assert len(re.findall(r"\$\{\w*PASSWORD", text)) == len(defaults)
    assert all(default.startswith("dev-only-") for default in defaults)


def test_the_service_is_given_the_time_it_may_take() -> None:
    """The container is killed later than the service gives up."""
    service = SERVICES["ragledger"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > int(service["environment"]["RAGLEDGER_SHUTDOWN__TIMEOUT_S"]) + 10


def test_the_topics_of_the_settings_are_made() -> None:
    """Each topic that the service reads by default exists before it starts."""
    assert set(Topics().named.values()) <= set(SERVICES["topics"]["environment"]["TOPICS"].split())


@pytest.mark.parametrize(("file", "topic"), [("dialogues", "rag.dialogue"), ("provenance", "rag.provenance")])
def test_the_samples_are_valid(file: str, topic: str) -> None:
    """Every event that the demo publishes would become a row."""
    with (ROOT / "deploy" / "samples" / f"{file}.jsonl").open("rb") as content:
        good, bad = sort_out(kinds_by_topic(Topics())[topic], topic, lines(content), now_ms=0)
    assert len(good) >= 20
    assert bad == []


def test_prometheus_scrapes_the_service() -> None:
    """The target is the service's name and port."""
    scrapes = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {one["job_name"]: one["static_configs"][0]["targets"] for one in scrapes}
    assert targets["ragledger"] == [f"ragledger:{Http().port}"]


def test_the_workflow_runs_what_people_run() -> None:
    """Both Pythons run `make check` and all tests, the Docker job the compose file and the tests on containers."""
    test, docker = WORKFLOW["jobs"]["test"], WORKFLOW["jobs"]["docker"]
    assert test["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    commands = [step.get("run", "").split(" PYTHON=")[0] for step in test["steps"]]
    assert {"make check", "make --keep-going test test-all"} <= set(commands)
    assert any(step.get("env") == {"RAGLEDGER_TEST_STACK": "docker"} for step in docker["steps"])
    script = "\n".join(step.get("run", "") for step in docker["steps"])
    for command in ("compose build", "compose up --detach --wait", "compose down --volumes"):
        assert f"docker {command}" in script
