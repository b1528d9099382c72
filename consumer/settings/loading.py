"""Loads the settings: variables ``RAGLEDGER_GROUP__NAME`` from the environment, an env file and a secrets directory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from consumer.settings.given import HIDDEN, shown, shown_address, shown_path
from consumer.settings.group import Group
from consumer.settings.model import Settings
from consumer.settings.sources import PREFIX, SettingsError, refuse_ignored, service_links, variable, variables
from consumer.text import printable

AnyGroup = TypeVar("AnyGroup", bound=Group)


def load() -> Settings:
    """Load the settings of this process.

    :raises SettingsError: a setting is wrong or unknown
    """
    given = variables()
    refuse_ignored()
    _refuse_unknown(given)
    members = {name: _members(name, field.annotation, given) for name, field in Settings.model_fields.items()}
    try:
        loaded = Settings.model_validate({name: values for name, values in members.items() if values})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None
    # Copies, because a group without variables is the default object, which all settings share.
    return loaded.model_copy(update={name: _remembering(name, group, given) for name, group in loaded})


def _remembering(name: str, group: Group, given: Collection[str]) -> Group:
    copy = group.model_copy()
    copy._given = frozenset(one for one in given if one.startswith(variable(name, "")))
    return copy


def reread(name: str, group: AnyGroup) -> AnyGroup:
    """Read a group again, because the files of secrets may have changed. A group not made from variables is unchanged.

    :param name: the name of the group in the settings
    :raises SettingsError: a setting is wrong now, or a secret of the start is missing
    """
    if group._given is None:
        return group
    now = variables()
    # Without this check, a file that is just being replaced would mean the default, which is another database.
    secrets = {variable(name, one) for one, field in type(group).model_fields.items() if _is_secret(field)}
    if gone := sorted(group._given & secrets - now.keys()):
        raise SettingsError(f"{gone[0]}: was set when the process started, and is now missing")
    try:
        found = type(group).model_validate(_members(name, type(group), now))
    except ValidationError as error:
        problems = [{**problem, "loc": (name, *problem["loc"])} for problem in error.errors()]
        raise SettingsError("\n".join(map(_explain, problems))) from None
    found._given = group._given
    return found


def _members(name: str, group: Any, given: Mapping[str, str]) -> dict[str, str | None]:
    """Return the values of a group's settings. An empty value of an optional setting means no value.

    Other names are left out: an unknown name is an error at the start only. Later it may be a backup copy of an editor.
    """
    found = {}
    for one, field in group.model_fields.items():
        value = given.get(variable(name, one))
        if value is not None:
            found[one] = (value or None) if field.default is None else value
    return found


def ignored(settings: Settings) -> Sequence[str]:
    """Return one sentence for each kind of variables and parameters that were set but have no effect."""
    links, parameters = service_links(), settings.postgres.parsed.ignored
    sentences = [
        f"{len(links)} variables that Kubernetes sets for services named like ragledger: {', '.join(links)}",
        f"parameters of {variable('postgres', 'dsn')} that are meant for other clients: {', '.join(parameters)}",
    ]
    return [sentence for sentence, names in zip(sentences, (links, parameters), strict=True) if names]


def known_variables() -> dict[str, Any]:
    """Return the environment variable and the field of every setting."""
    return {
        variable(group, name): field
        for group, group_field in Settings.model_fields.items()
        for name, field in group_field.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def _is_secret(field: Any) -> bool:
    return "SecretStr" in str(field.annotation)


def _refuse_unknown(names: Collection[str]) -> None:
    known = known_variables()
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        raise SettingsError("\n".join(_unknown(name, known) for name in unknown))


def _unknown(name: str, known: Collection[str]) -> str:
    close = [one for one in known if _squeezed(one) == _squeezed(name)] or get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else "; `ragledger config show` lists them all"
    return f"{printable(name)}: there is no such setting{hint}"


def _squeezed(name: str) -> str:
    return name.replace("_", "")


def _explain(problem: Any) -> str:
    text: str = problem["msg"].removeprefix("Value error, ")
    parsing = problem.get("ctx", {}).get("error")
    if isinstance(parsing, str):  # the words of a parser, which quote characters of the value
        text = text.removesuffix(f", {parsing}")
    if text.startswith(PREFIX):  # the message names its settings
        return text
    sentence = text if text[:2].isupper() else text[:1].lower() + text[1:]
    return f"{variable(*problem['loc'])}{_value(problem)}: {sentence}"


def _value(problem: Any) -> str:
    """Return "=" and the value of the setting; nothing for a group, because it may contain a secret."""
    name = variable(*problem["loc"])
    field = known_variables().get(name)
    if field is None:
        return ""
    given = problem.get("input")
    if _is_secret(field):
        return f"={HIDDEN}"
    if given is None:
        return "="
    if "Path" in str(field.annotation):
        return f"={shown_path(given)}"
    return f"={shown_address(given) if field.annotation is str else shown(given)}"
