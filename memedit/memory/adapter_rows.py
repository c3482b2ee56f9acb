"""The statements about adapters and deployments, inside a given transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from memedit.memory.adapter_records import (
    AdapterKind,
    AdapterRecord,
    AdapterView,
    Deployment,
    TargetKind,
)
from memedit.memory.rows import microseconds, moment_of
from memedit.memory.schema import ADAPTERS, CARRIED, DEPLOYMENTS, META


def read_view(connection: Connection) -> AdapterView:
    """Read everything."""
    return AdapterView.of(read_adapters(connection), read_deployments(connection))


def changed(connection: Connection) -> None:
    """Have every process read the adapters anew."""
    connection.execute(update(META).values(adapters=META.c.adapters + 1))


def read_adapters(connection: Connection, name: str | None = None) -> list[AdapterRecord]:
    """Read all adapters, or that of one name, with the edits that they hold."""
    adapters, carried = select(ADAPTERS), select(CARRIED).order_by(CARRIED.c.id)
    if name is not None:
        adapters = adapters.where(ADAPTERS.c.name == name)
        carried = carried.where(CARRIED.c.adapter == name)
    edits: dict[str, list[str]] = {}
    for row in connection.execute(carried):
        edits.setdefault(row.adapter, []).append(f"{row.id}@{row.version}")
    return [
        AdapterRecord(
            name=row.name,
            base=row.base,
            method=row.method,
            edits=tuple(edits.get(row.name, ())),
            kind=AdapterKind(row.kind),
            sha256=row.sha256,
            created_at=_moment(row.created_at),
            retired_at=moment_of(row.retired_at),
        )
        for row in connection.execute(adapters.order_by(ADAPTERS.c.name))
    ]


def insert_adapter(connection: Connection, record: AdapterRecord) -> None:
    """Write a new adapter."""
    connection.execute(
        insert(ADAPTERS).values(
            name=record.name,
            base=record.base,
            method=record.method,
            kind=record.kind.value,
            sha256=record.sha256,
            created_at=microseconds(record.created_at),
            retired_at=microseconds(record.retired_at),
        )
    )
    held = (ref.rsplit("@", 1) for ref in record.edits)
    connection.execute(
        insert(CARRIED),
        [{"adapter": record.name, "id": one, "version": int(number)} for one, number in held],
    )


def retire(connection: Connection, name: str, moment: datetime) -> None:
    """Note since when no more requests go to an adapter."""
    this = ADAPTERS.c.name == name
    connection.execute(update(ADAPTERS).where(this).values(retired_at=microseconds(moment)))


def delete_adapter(connection: Connection, name: str) -> None:
    """Remove an adapter that is deployed nowhere."""
    connection.execute(delete(CARRIED).where(CARRIED.c.adapter == name))
    connection.execute(delete(ADAPTERS).where(ADAPTERS.c.name == name))


def read_deployments(connection: Connection) -> list[Deployment]:
    """Read what is deployed."""
    return [
        Deployment(
            TargetKind(row.kind), row.target, row.adapter, row.author, _moment(row.created_at)
        )
        for row in connection.execute(
            select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.kind, DEPLOYMENTS.c.target)
        )
    ]


def insert_deployment(connection: Connection, one: Deployment) -> None:
    """Write a deployment, where there is none."""
    connection.execute(
        insert(DEPLOYMENTS).values(
            kind=one.kind.value,
            target=one.target,
            adapter=one.adapter,
            author=one.author,
            created_at=microseconds(one.created_at),
        )
    )


def delete_deployment(connection: Connection, kind: TargetKind, target: str) -> str | None:
    """Remove a deployment; return the adapter that was deployed there, if one was."""
    this = (DEPLOYMENTS.c.kind == kind.value) & (DEPLOYMENTS.c.target == target)
    before: str | None = connection.execute(
        select(DEPLOYMENTS.c.adapter).where(this)
    ).scalar_one_or_none()
    connection.execute(delete(DEPLOYMENTS).where(this))
    return before


def _moment(stored: int) -> datetime:
    moment = moment_of(stored)
    assert moment is not None  # the column holds no NULL
    return moment
