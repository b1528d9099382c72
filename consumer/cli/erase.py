"""`erase`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic_core import PydanticCustomError

from consumer.admin.erasure import Circumstances, Erasure, Progress, as_text, dry_run, receipt
from consumer.cli.database import opened_database
from consumer.cli.id import id_of
from consumer.cli.output import Json, WrongUse, command, err, out, print_json, progress
from consumer.events.fields import Uuid
from consumer.files import FileError, demand_writable, write
from consumer.ingest import slo
from consumer.ingest.erased import erasure_keys
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.admin import address
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.model import Settings, load, owner_name, user_name


def _user(text: str) -> UUID:
    """A user's id, written as events may write it."""
    try:
        user = Uuid().parse(text.strip())
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from None
    if user.int in _NOBODY:
        raise typer.BadParameter(_WHY_NOBODY)
    return user


_NOBODY = (0, 2**128 - 1)
_WHY_NOBODY = "stands for nobody in particular: all that share it would be erased for ever"


User = Annotated[
    UUID | None, typer.Option("--user", parser=_user, metavar="UUID", help="Whom to erase, by the UUID in the tables.")
]
UserKey = Annotated[
    str | None, typer.Option("--user-key", metavar="KEY", help="Whom to erase, by the id as the application has it.")
]
Directory = Annotated[
    Path, typer.Option("--receipt", exists=True, file_okay=False, help="Where the receipt is written.")
]


def erase(
    user: User = None,
    user_key: UserKey = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    reference: Annotated[str | None, typer.Option(help="The request it answers, for the receipt.")] = None,
    directory: Directory = Path(),
    as_json: Json = False,
) -> None:
    """Erase a user: dialogues, feedback, dead letters; it stays so when topics are read again. Writes a receipt.

    It may be killed at any point and repeated.
    """
    if (user is None) == (user_key is None):
        raise typer.BadParameter("give either --user or --user-key")
    _erase(user, user_key, dry_run, reference, directory, as_json)


@command
async def _erase(
    given: UUID | None, key: str | None, only_look: bool, reference: str | None, directory: Path, as_json: bool
) -> None:
    if not only_look:
        _demand_place(directory)
    settings = load()
    user = given or _user_of(key or "", settings)
    around = _circumstances(settings, reference)
    async with opened_database(settings) as database:
        erasure = _erasure(settings, database)
        await erasure.demand()
        if only_look:
            document = await _look(erasure, user, around, settings)
        else:
            document = await _do(erasure, user, around, settings)
    if not only_look:
        _file(document, directory)  # before anything is printed: nobody may be there to read it
    if as_json:
        print_json(document)
    else:
        out.print(as_text(document), markup=False, soft_wrap=True)


def _user_of(key: str, settings: Settings) -> UUID:
    user = id_of("user", settings, key)
    if user.int in _NOBODY:
        raise WrongUse(f"--user-key: {_WHY_NOBODY}")
    return user


def _erasure(settings: Settings, database: Database) -> Erasure:
    basis = Basis(settings.rollup.timezone, slo.load(settings.slo.file))
    history = PostgresHistory(database, basis, owner_name())
    keys, namespace = erasure_keys(settings.erasure), settings.ids.namespace
    return Erasure(database, history, settings.rollup.timezone, keys, namespace)


def _circumstances(settings: Settings, reference: str | None) -> Circumstances:
    return Circumstances(
        address(settings.postgres.dsn.get_secret_value()),
        user_name(),
        reference,
        settings.topics.consumed,
        settings.topics.expired,
    )


async def _look(erasure: Erasure, user: UUID, around: Circumstances, settings: Settings) -> Mapping[str, Any]:
    with progress() as bar:
        found = await erasure.find(user, _told(bar))
        files = await erasure.archives(user, settings.partitions.archive_dir, _told(bar))
    return dry_run(around, erasure.hash(user), erasure.key_id, found, files)


async def _do(erasure: Erasure, user: UUID, around: Circumstances, settings: Settings) -> Mapping[str, Any]:
    with progress() as bar:
        history, left = await erasure.erase(user, around.requested_by, around.reference, _told(bar))
        files = await erasure.archives(user, settings.partitions.archive_dir, _told(bar))
    return receipt(around, history, left, files)


def _told(bar: Any) -> Progress:
    tasks: dict[str, Any] = {}

    def told(what: str, count: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=None)
        bar.advance(tasks[what], count)

    return told


def _demand_place(directory: Path) -> None:
    """Before anything is erased."""
    try:
        demand_writable(directory)
    except FileError as error:
        raise WrongUse(f"the receipt has no place: {error} with --receipt") from None


def _file(document: Mapping[str, Any], directory: Path) -> None:
    try:
        _write(document, directory)
    except FileError as error:
        raise FileError(
            f"the user is erased, and only the receipt is missing: {error} with --receipt; the same command again"
            " writes one that tells of this erasure too"
        ) from error


def _write(document: Mapping[str, Any], directory: Path) -> None:
    """The receipt in two files, each whole or not there; readable by their owner alone."""
    name = f"erasure-{document['number']}-{document['user']['hmac_sha256'][:12]}"
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    write(directory / f"{name}.json", text)
    write(directory / f"{name}.txt", f"{as_text(document)}\nSHA-256 of {name}.json: {digest}\n")
    err.print(f"The receipt is in {directory / name}.json and .txt", markup=False, soft_wrap=True)
