"""Rules as YAML: one file for each objective and one that all budgets share, or all of them in one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from consumer.admin.slo_rules.budget import SHARED_GROUPS, Group, Rule, budget_groups
from consumer.admin.slo_rules.spending import spending_groups
from consumer.admin.slo_rules.watching import Budget, DayOnly, Spending, Watch, plain
from consumer.ingest.slo import Objective

MARK = "# Written by `ragledger slo rules`. Change the objectives, and have it written again."
# No name of an objective has a hyphen.
SHARED_FILE = "slo-error-budgets.yml"
_SHARED_HEAD = """\
Rules for all objectives with an error budget: the size of the budget, how fast it burns, and how much is left. The
names and labels are those of Sloth, so Sloth's dashboards and tools find them."""
_BUDGET_HEAD = """\
{condition}, as an error budget over 30 days: {good} % of the events have to be good.
A window without events has no ratio, because its NaN would spoil every longer window."""
_DAY_ONLY_HEAD = "{condition}, judged by the day only: {why}."
_SPENDING_HEAD = """\
{condition}, over the last 24 hours instead of a calendar day. An amount of money has no error budget."""


def file_name(objective: Objective) -> str:
    """Return the name of the file for an objective's rules."""
    return f"slo-{objective.name}.yml"


def condition(objective: Objective) -> str:
    """Return the objective as text: latency_p95 <= 3000."""
    return f"{objective.figure} {objective.operator} {plain(objective.target)}"


def files(watches: Sequence[Watch], runbooks: str = "") -> Mapping[str, str]:
    """Return the text of every file by its name.

    :param runbooks: prefix of the links to the runbook: the address of the published docs/
    """
    watched = [watch for watch in watches if not isinstance(watch, DayOnly)]
    found = {file_name(watch.objective): _text(_of(watch, runbooks)) for watch in watched}
    if any(isinstance(watch, Budget) for watch in watched):
        found[SHARED_FILE] = _text(_SHARED)
    return found


def document(watches: Sequence[Watch], runbooks: str = "") -> str:
    """Return all rules as one document, with a comment on each objective. See :func:`files`."""
    parts = [_of(watch, runbooks) for watch in watches]
    if any(isinstance(watch, Budget) for watch in watches):
        parts.append(_SHARED)
    listed = "".join(_comment(part.head) + (_yaml(part.groups) if part.groups else "") for part in parts)
    return f"{MARK}\n{_KEY if any(part.groups for part in parts) else _NO_GROUPS}{listed}"


class _Part(NamedTuple):
    """Groups of rules and the comment above them."""

    head: str
    groups: Sequence[Group]


_SHARED = _Part(_SHARED_HEAD, SHARED_GROUPS)
_KEY, _NO_GROUPS = "groups:\n", "groups: []\n"


def _of(watch: Watch, runbooks: str) -> _Part:
    asks = condition(watch.objective)
    if isinstance(watch, Budget):
        head = _BUDGET_HEAD.format(condition=asks, good=plain(100 * watch.good))
        return _Part(f"{head}\n{watch.note}", _leading_to(runbooks, budget_groups(watch)))
    if isinstance(watch, Spending):
        return _Part(_SPENDING_HEAD.format(condition=asks), _leading_to(runbooks, spending_groups(watch)))
    return _Part(_DAY_ONLY_HEAD.format(condition=asks, why=watch.why), ())


def _leading_to(runbooks: str, groups: Sequence[Group]) -> Sequence[Group]:
    return [{**group, "rules": [_linked(runbooks, rule) for rule in group["rules"]]} for group in groups]


def _linked(runbooks: str, rule: Rule) -> Rule:
    if "annotations" not in rule:
        return rule
    annotations = rule["annotations"]
    return {**rule, "annotations": {**annotations, "runbook_url": runbooks + annotations["runbook_url"]}}


def _text(part: _Part) -> str:
    return f"{MARK}\n{_comment(part.head)}{_KEY}{_yaml(part.groups)}"


def _comment(head: str) -> str:
    return "".join(f"# {line}\n" for line in head.splitlines())


def _yaml(groups: Sequence[Group]) -> str:
    """Return the YAML below the key `groups`."""
    text = yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.removeprefix(_KEY)


class _Dumper(yaml.SafeDumper):
    """Writes multi-line expressions as blocks, labels on one line, and no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, value in node.value:
            if key.value == "labels":
                value.flow_style = True
        return node


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)
