"""Which adapters hold which edits, and what is deployed for all traffic: beside the edits.

The adapters themselves lie in a library on disk; here stands what routing has to know of them.
An adapter is known from ``register`` until ``retire``, and stays listed afterwards: a server may
still have it loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from memedit.errors import ConflictError, InvalidInputError, NotFoundError
from memedit.memory import adapter_rows, store
from memedit.memory.adapter_records import (
    AdapterRecord,
    AdapterView,
    Deployment,
    TargetKind,
    split_name,
)
from memedit.memory.database import Database, DuplicateKey
from memedit.memory.drafts import checked_author
from memedit.memory.ids import split_ref

if TYPE_CHECKING:
    from memedit.memory.mirror import Mirror

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST_TARGET: Final = 256


class Adapters:
    """The adapters of one edit memory.  Safe for several threads; every change is durable."""

    def __init__(self, database: Database, mirror: Mirror) -> None:
        self._database = database
        self._mirror = mirror

    def view(self) -> AdapterView:
        """Return what the last refresh of the memory has seen: no SQL."""
        return self._mirror.adapters

    def register(self, record: AdapterRecord) -> list[str]:
        """Let requests go to a new adapter; earlier versions of its id are retired.

        A version that is deployed stays, until another takes its place or it is undone.

        Returns:
            The names that were retired.

        Raises:
            InvalidInputError: name, base or edits are not what they must be.
            NotFoundError: it holds an edit, or a version, that is not in the memory.
            ConflictError: an adapter of that name is known already.
            MemoryFailure: nothing was written.

        """
        own_id, version = split_name(record.name)
        if _FINGERPRINT.fullmatch(record.base) is None:
            raise InvalidInputError(
                f"{record.name} is for the base {record.base[:80]!r}; expected the fingerprint of "
                "a model, 64 hexadecimal digits"
            )
        held = [split_ref(ref) for ref in record.edits]
        if not held or any(version is None for _, version in held):
            raise InvalidInputError(
                f"{record.name} holds {list(record.edits)[:5]}; expected edits as id@version, and "
                "at least one"
            )
        if len({edit for edit, _ in held}) != len(held):
            raise InvalidInputError(f"{record.name} holds an edit in two versions")
        try:
            with self._changing() as connection:
                for edit, number in held:
                    if store.read_version(connection, edit, number) is None:
                        raise NotFoundError(
                            f"{record.name} holds the edit {edit}@{number}, which is not in this "
                            "memory; nothing was registered. Register it where it was learned from"
                        )
                deployed = {one.adapter for one in adapter_rows.read_deployments(connection)}
                older = [
                    one.name
                    for one in adapter_rows.read_adapters(connection)
                    if one.live and one.name not in deployed and _is_older(one, own_id, version)
                ]
                adapter_rows.insert_adapter(connection, record)
                for name in older:
                    adapter_rows.retire(connection, name, datetime.now(UTC))
        except DuplicateKey as error:
            raise ConflictError(
                f"an adapter {record.name} is registered already; versions are never replaced. "
                "'memedit adapters add' takes the next one that is free"
            ) from error
        return older

    def retire(self, name: str) -> AdapterRecord:
        """Send no more requests to an adapter; its edits are written into prompts again.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it is retired already, or deployed.

        """
        with self._changing() as connection:
            record = _live(connection, name)
            for one in adapter_rows.read_deployments(connection):
                if one.adapter == name:
                    raise ConflictError(
                        f"{name} is deployed for the {one.kind.value} {one.target}; undo that "
                        f"first: memedit undeploy --{one.kind.value} {one.target}"
                    )
            adapter_rows.retire(connection, record.name, datetime.now(UTC))
        return self._mirror.adapters.records[name]

    def forget(self, name: str) -> None:
        """Take a retired adapter off the list, once its folder is gone.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it is not retired.

        """
        with self._changing() as connection:
            if _known(connection, name).live:
                raise ConflictError(f"{name} is live; retire it first: memedit adapters retire")
            adapter_rows.delete_adapter(connection, name)

    def deploy(
        self, name: str, kind: TargetKind, target: str, *, author: str | None = None
    ) -> str | None:
        """Send all traffic of a namespace, or to a model, through an adapter.

        Its edits are not written into that traffic's prompts for as long as it is deployed.

        Returns:
            The adapter that was deployed there before.

        Raises:
            NotFoundError: there is no adapter of that name.
            ConflictError: it is retired.
            InvalidInputError: the target is no name.

        """
        if not 0 < len(target) <= _LONGEST_TARGET or "\0" in target:
            raise InvalidInputError(
                f"a {kind.value} has a name of 1 to {_LONGEST_TARGET} characters; got "
                f"{target[:80]!r}"
            )
        now = datetime.now(UTC)
        deployment = Deployment(kind, target, name, checked_author(author), now)
        with self._changing() as connection:
            _live(connection, name)
            before = adapter_rows.delete_deployment(connection, kind, target)
            adapter_rows.insert_deployment(connection, deployment)
        return before

    def undeploy(self, kind: TargetKind, target: str) -> str:
        """Undo a deployment: the next request is answered by the model as it was.

        Returns:
            The adapter that was deployed; it stays registered.

        Raises:
            NotFoundError: nothing is deployed there.

        """
        with self._changing() as connection:
            before = adapter_rows.delete_deployment(connection, kind, target)
            if before is None:
                raise NotFoundError(
                    f"nothing is deployed for the {kind.value} {target!r}; 'memedit adapters list' "
                    "shows what is"
                )
        return before

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """Give a transaction of the only writer; afterwards this process has seen its changes."""
        with self._database.write() as connection:
            store.lock(connection)
            yield connection
            adapter_rows.changed(connection)
        self._mirror.catch_up()


def _is_older(record: AdapterRecord, own_id: str, version: int) -> bool:
    other, number = split_name(record.name)
    return other == own_id and number < version


def _known(connection: Connection, name: str) -> AdapterRecord:
    for one in adapter_rows.read_adapters(connection, name):
        return one
    raise NotFoundError(
        f"no adapter {name[:80]!r} is registered in this memory; 'memedit adapters list' shows "
        "those that are"
    )


def _live(connection: Connection, name: str) -> AdapterRecord:
    record = _known(connection, name)
    if not record.live:
        raise ConflictError(
            f"{name} was retired on {record.retired_at:%Y-%m-%d %H:%M} UTC and stays so: no "
            "request goes to it, and its edits are written into prompts; 'memedit adapters prune' "
            "deletes its folder. To use it again, add it as a new version: 'memedit adapters add'"
        )
    return record
