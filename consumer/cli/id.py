"""`id`: prints the UUID of a string id."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from consumer.cli.output import Json, WrongUse, command, out, print_json
from consumer.errors import OperationError
from consumer.events import ids
from consumer.events.registry import namespace_of
from consumer.settings.loading import load
from consumer.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="Print the UUID under which a user or a session is stored.")

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The id that the application uses.")]


@app.command()
def user(key: KeyArgument, as_json: Json = False) -> None:
    """Print the UUID of a user, as in ai_dialogue_log.user_id."""
    _print("user", key, as_json)


@app.command()
def session(key: KeyArgument, as_json: Json = False) -> None:
    """Print the UUID of a session, as in ai_dialogue_log.session_id."""
    _print("session", key, as_json)


@command
async def _print(owner: ids.Owner, key: str, as_json: bool) -> None:
    settings = load()
    found = id_of(owner, settings, key)
    if as_json:
        namespace = namespace_of(settings)
        print_json({"of": owner, "id": str(found), "namespace": namespace and str(namespace)})
    else:
        out.print(str(found), markup=False)


def id_of(owner: ids.Owner, settings: Settings, key: str) -> UUID:
    """Return the UUID of a user or a session in the namespace of the settings; a UUID needs no namespace.

    :raises OperationError: no namespace is set
    :raises WrongUse: the key cannot be an id
    """
    namespace = namespace_of(settings)
    if namespace is None and not ids.UUID_FORM.fullmatch(key):
        raise OperationError(_NO_NAMESPACE)
    try:
        return ids.id_of(owner, namespace or UUID(int=0), key)
    except ValueError as error:
        raise WrongUse(f"the key {error}") from None


_NO_NAMESPACE = (
    "the key is not a UUID, and RAGLEDGER_IDS__NAMESPACE is not set: set it to the namespace of the service or, if the"
    " service has none yet, to a new UUID, such as from `uuidgen`"
)
