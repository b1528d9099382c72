"""`id`: the UUID of a string id."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from consumer.cli.output import Json, WrongUse, command, out, print_json
from consumer.errors import OperationError
from consumer.events import ids
from consumer.settings.model import Settings, load

app = typer.Typer(no_args_is_help=True, help="The UUID under which a user or a session is stored.")

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The id as the application has it.")]


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
        namespace = settings.ids.namespace
        print_json({"of": owner, "id": str(found), "namespace": namespace and str(namespace)})
    else:
        out.print(str(found), markup=False)


def id_of(owner: ids.Owner, settings: Settings, key: str) -> UUID:
    """The UUID of a user or a session under the namespace of the settings; a UUID needs none.

    :raises OperationError: no namespace is set
    :raises WrongUse: the key cannot be anybody's id
    """
    namespace = settings.ids.namespace
    if namespace is None and not ids.UUID_FORM.fullmatch(key):
        raise OperationError(_NO_NAMESPACE)
    try:
        return ids.id_of(owner, namespace or UUID(int=0), key)
    except ValueError as error:
        raise WrongUse(f"the key {error}") from None


_NO_NAMESPACE = (
    "the key is no UUID, and RAGLEDGER_IDS__NAMESPACE is not set: set it to the namespace of the service, or, if the"
    " service has none yet, to a new UUID, such as from `uuidgen`"
)
