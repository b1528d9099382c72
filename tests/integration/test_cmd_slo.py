"""Tests `ragledger slo rules`: the rules for Prometheus match any objectives."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import PROMETHEUS, promtool
from tests.support.service import Environment

pytestmark = pytest.mark.timeout(180)

OWN = """
objectives:
  - {name: usually_quick, figure: latency_p50, operator: "<", target: 750}
  - {name: quick, figure: latency_p99, operator: <=, target: 10000}
  - {name: "on", figure: citation_rate, operator: ">=", target: 99.5}
  - {name: spending, figure: total_cost, operator: <=, target: 5000}
  - {name: each, figure: cost_per_answer, operator: <, target: 0.5}
  - {name: relevant, figure: avg_relevance_score, operator: ">=", target: 0.8}
"""
REFUSED = """
objectives:
  - {name: quick, figure: latency_p95, operator: <=, target: 3200}
  - {name: fresh, figure: ingest_delay_p95, operator: <=, target: 60}
"""


def rules(directory: Path | None, *options: str, objectives: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command without a database and Kafka."""
    settings = {"RAGLEDGER_SLO__FILE": str(objectives)} if objectives else {}
    nowhere = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", {}, **settings)
    return nowhere.run("slo", "rules", *([str(directory)] if directory else []), *options)


def write(path: Path, text: str) -> Path:
    """Write a file of objectives."""
    path.write_text(text)
    return path


def names(directory: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in directory.iterdir())


# ── the committed rules ──


def test_the_committed_rules_are_those_of_the_built_in_objectives() -> None:
    """They are equal to the last byte, and there are no others."""
    done = rules(PROMETHEUS / "rules", "--check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["current"], said["written"], said["removed"]) == (True, [], [])
    shown = {one["name"]: (one["watched_as"], one["good_percent"], one["alert"]) for one in said["objectives"]}
    assert shown == {
        "citation_rate": ("error_budget", 70, "RagledgerFewAnswersCite"),
        "latency_p95": ("error_budget", 95, "RagledgerAnswersAreSlow"),
        "cost_per_answer": ("spending", None, "RagledgerCostsTooMuch"),
        "negative_feedback": ("error_budget", 90, "RagledgerUsersAreNotContent"),
        "freshness": ("error_budget", 95, "RagledgerRecordsArriveLate"),
    }
    assert {one["file"] for one in said["objectives"]} < set(names(PROMETHEUS / "rules"))


# ── rules of a user's objectives ──


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the rules of a user's file into a new directory."""
    directory = tmp_path_factory.mktemp("slo") / "new" / "rules"
    done = rules(directory, objectives=write(directory.parents[1] / "slo.yml", OWN))
    assert (done.returncode, done.stderr) == (0, "")
    return directory


def test_promtool_accepts_the_rules_of_other_objectives(own: Path) -> None:
    """Two objectives for latency share an alert name and differ by labels; an objective judged by the day only
    has no rule.
    """
    files = ["each", "error-budgets", "on", "quick", "spending", "usually_quick"]
    assert names(own) == [f"slo-{name}.yml" for name in files]
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(own.iterdir()))
    assert said.count("SUCCESS") == len(files)


def test_standard_output_gets_one_document(own: Path, tmp_path: Path) -> None:
    """It has the same groups, links to the runbook, and a comment on each objective judged by the day only."""
    published = "https://docs.example/ragledger/"
    done = rules(None, "--runbooks", published, objectives=own.parents[1] / "slo.yml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "# avg_relevance_score >= 0.8, judged by the day only: Prometheus has no metric of it." in done.stdout
    assert done.stdout.count(f"runbook_url: {published}docs/operations.md#") == 8
    file = write(tmp_path / "all.yml", done.stdout.replace(published, ""))
    promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    apart = [group for path in own.iterdir() for group in groups_of(path)]
    assert sorted(groups_of(file), key=lambda group: group["name"]) == sorted(apart, key=lambda group: group["name"])


def groups_of(path: Path) -> list[dict[str, Any]]:
    """Return the groups of a file of rules."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())["groups"]
    return found


def alerts_at(time: str, alert: str, *labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the expected alerts at a time, without texts."""
    return {"eval_time": time, "alertname": alert, "exp_alerts": [{"exp_labels": dict(one)} for one in labels]}


def without_texts(directory: Path, into: Path) -> list[str]:
    """Write copies of the rules without annotations, which promtool compares word by word."""
    into.mkdir()
    for path in directory.iterdir():
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (into / path.name).write_text(yaml.safe_dump(content, sort_keys=False))
    return names(into)


def order(directory: Path) -> list[str]:
    """Return the groups in the order of their dependencies."""
    found = [group["name"] for path in directory.iterdir() for group in groups_of(path)]
    ranks = ("sli-recordings", "meta-recordings-ragledger-", "meta-recordings", "slo")
    return sorted(found, key=lambda name: next(rank for rank, part in enumerate(ranks) if part in name))


def burning(severity: str, name: str) -> dict[str, str]:
    """Return the labels of an alert on an error budget."""
    labels = {"severity": severity, "sloth_severity": severity, "sloth_service": "ragledger"}
    return labels | {"sloth_id": f"ragledger-{name}", "sloth_slo": name}


def series(values: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Return input series for promtool."""
    return [{"series": name, "values": one} for name, one in values.items()]


@pytest.mark.slow
def test_the_alerts_fire_only_for_missed_objectives(own: Path, tmp_path: Path) -> None:
    """Six of ten answers slower than 0.75 s miss one objective and meet the other; likewise with citations and
    costs.
    """
    rule_files = without_texts(own, tmp_path / "rules")
    latency, slow = "rag_dialogue_latency_seconds", "RagledgerAnswersAreSlow"
    bad = {
        f'{latency}_count{{model="m"}}': "0+1000x180",
        f'{latency}_bucket{{model="m", le="0.75"}}': "0+100x180",
        f'{latency}_bucket{{model="m", le="10.0"}}': "0+995x180",
        'rag_dialogues_total{model="m", cited="true"}': "0+900x180",
        'rag_dialogues_total{model="m", cited="false"}': "0+100x180",
        'rag_cost_jpy_total{model="m"}': "0+50x180",
        'rag_priced_dialogues_total{model="m"}': "0+100x180",
    }
    good = {
        f'{latency}_count{{model="m"}}': "0+1000x180",
        f'{latency}_bucket{{model="m", le="0.75"}}': "0+501x180",
        f'{latency}_bucket{{model="m", le="10.0"}}': "0+995x180",
        'rag_dialogues_total{model="m", cited="true"}': "0+996x180",
        'rag_dialogues_total{model="m", cited="false"}': "0+4x180",
        'rag_cost_jpy_total{model="m"}': "0+25x180",
        'rag_priced_dialogues_total{model="m"}': "0+100x180",
    }
    cites, costs = "RagledgerFewAnswersCite", "RagledgerCostsTooMuch"
    both = [burning(severity, name) for name in ("usually_quick", "on") for severity in ("page", "ticket")]
    tests = [
        {"interval": "2m", "input_series": series(bad), "alert_rule_test": [
            alerts_at("5h", slow, *both[:2]),
            alerts_at("5h", cites, *both[2:]),
            alerts_at("5h", costs, *({"severity": "ticket", "slo": name} for name in ("spending", "each"))),
        ]},
        {"interval": "2m", "input_series": series(good), "alert_rule_test": [
            alerts_at("5h", slow), alerts_at("5h", cites), alerts_at("5h", costs),
        ]},
    ]  # fmt: skip
    file = tmp_path / "tests.yml"
    content = {
        "rule_files": [f"rules/{name}" for name in rule_files],
        "evaluation_interval": "2m",
        "group_eval_order": order(own),
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_the_output_says_how_each_objective_is_watched(own: Path) -> None:
    """A second run writes nothing."""
    done = rules(own, objectives=own.parents[1] / "slo.yml")
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "latency_p99 <= 10000 over 30 days: 99 % of the events" in said
    assert "total_cost <= 5000 over the last 24 hours" in said
    assert "avg_relevance_score >= 0.8 by the day only: Prometheus" in said
    assert "The rules are current." in said


# ── changes ──


def test_a_change_of_objectives_is_detected_and_applied(own: Path, tmp_path: Path) -> None:
    """Exit code 3 while the directory holds other rules; writing removes obsolete files and keeps foreign ones."""
    directory = Path(shutil.copytree(own, tmp_path / "rules"))
    (directory / "ingestion.yml").write_text("groups: []\n")
    before = names(directory)
    fewer = write(tmp_path / "slo.yml", REFUSED.replace("3200", "3000"))
    checked = rules(directory, "--check", objectives=fewer)
    assert checked.returncode == 3
    assert f"not current: {directory}/slo-fresh.yml" in checked.stdout
    assert f"obsolete: {directory}/slo-on.yml" in checked.stdout
    assert names(directory) == before
    written = rules(directory, "--json", objectives=fewer)
    assert written.returncode == 0
    assert [Path(path).name for path in json.loads(written.stdout)["written"]] == ["slo-fresh.yml", "slo-quick.yml"]
    assert names(directory) == ["ingestion.yml", "slo-error-budgets.yml", "slo-fresh.yml", "slo-quick.yml"]
    assert rules(directory, "--check", objectives=fewer).returncode == 0


def test_a_file_that_was_changed_by_hand_is_not_current(own: Path, tmp_path: Path) -> None:
    """It is written again."""
    directory, objectives = Path(shutil.copytree(own, tmp_path / "rules")), own.parents[1] / "slo.yml"
    file = directory / "slo-on.yml"
    text = file.read_text()
    file.write_text(text.replace("vector(0.995)", "vector(0.5)"))
    assert rules(directory, "--check", objectives=objectives).returncode == 3
    assert rules(directory, objectives=objectives).returncode == 0
    assert file.read_text() == text


# ── errors ──


def test_a_target_that_prometheus_cannot_count_is_refused(tmp_path: Path) -> None:
    """The message names the nearest targets, and nothing is written, unless --skip-refused is given."""
    objectives, directory = write(tmp_path / "slo.yml", REFUSED), tmp_path / "rules"
    for option in ([], ["--check"]):
        done = rules(directory, *option, objectives=objectives)
        assert (done.returncode, done.stdout) == (1, "")
        assert "quick: 3200 ms is not a bucket bound of rag_dialogue_latency_seconds" in done.stderr
        assert "3000 or 4000" in done.stderr
        assert "--skip-refused" in done.stderr
        assert not directory.exists()
    done = rules(directory, "--skip-refused", "--json", objectives=objectives)
    assert done.returncode == 0
    watched = {one["name"]: one["watched_as"] for one in json.loads(done.stdout)["objectives"]}
    assert watched == {"quick": "day_only", "fresh": "error_budget"}
    assert names(directory) == ["slo-error-budgets.yml", "slo-fresh.yml"]


def test_a_foreign_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    """Nothing else is written either."""
    theirs = tmp_path / "slo-freshness.yml"
    theirs.write_text("groups: []\n")
    done = rules(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(theirs) in done.stderr.replace("\n", "")
    assert names(tmp_path) == [theirs.name]


def test_a_wrong_file_of_objectives_and_an_unusable_directory_are_reported(tmp_path: Path) -> None:
    """The first error has the line, the second the path."""
    wrong = write(tmp_path / "slo.yml", OWN.replace("target: 750", "target: fast"))
    done = rules(tmp_path / "rules", objectives=wrong)
    assert done.returncode == 1
    assert f"{wrong}, line 3: objectives[0].target" in done.stderr.replace("\n", "")
    done = rules(wrong)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(wrong) in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_wrong_use_is_exit_code_2() -> None:
    """--check without a directory, and a link that is not an address."""
    for options, said in ((["--check"], "needs the directory"), (["--runbooks", "docs.example"], "ends with /")):
        done = rules(None, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
