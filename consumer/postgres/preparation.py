"""The slow work on a batch, done before its transaction: PostgreSQL ends a transaction that is idle for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

from consumer.ingest.batch import Batch
from consumer.ingest.erased import ErasedUsers, Place, Screened, Screening
from consumer.postgres.aside import aside
from consumer.postgres.dead_letters import headers_in_json


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that is ready for its transaction.

    :param erased: the set of erased users with which the batch was screened
    :param screened: the part that may be stored
    :param headers: the headers, in JSON, of each record that may become a dead letter
    """

    batch: Batch
    erased: ErasedUsers
    screened: Screened
    headers: Mapping[Place, str]


class Preparation:
    """Prepares one batch for every attempt to write it. Results of one attempt are kept for the next."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._screening = Screening(batch.rows, batch.dead_letters)
        self._headers: dict[Place, str] = {}
        self._prepared: dict[bool, Prepared] = {}

    async def under(self, erased: ErasedUsers, *, rows_may_be_refused: bool) -> Prepared:
        """Prepare the batch for a transaction with this set of erased users.

        :param rows_may_be_refused: whether the transaction turns refused rows into dead letters
        """
        known = self._prepared.get(rows_may_be_refused)
        if known is not None and known.erased is erased:
            return known
        prepare = partial(self._prepare, erased, rows_may_be_refused)
        is_quick = not erased and not rows_may_be_refused and not self._batch.dead_letters
        self._prepared[rows_may_be_refused] = prepared = prepare() if is_quick else await aside(prepare)
        return prepared

    def _prepare(self, erased: ErasedUsers, rows_may_be_refused: bool) -> Prepared:
        if not self._headers:
            self._headers = headers_in_json(letter.record for letter in self._batch.dead_letters)
        rows = chain.from_iterable(self._batch.rows.values()) if rows_may_be_refused else ()
        self._headers |= headers_in_json(row.record for row in rows)
        screened = self._screening.under(erased, rows_may_be_refused=rows_may_be_refused)
        return Prepared(self._batch, erased, screened, self._headers)
