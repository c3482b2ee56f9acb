"""The connection to the system of record: SQLite or PostgreSQL behind the same two transactions.

Everything that goes wrong in the driver, the disk or the network leaves here as ``MemoryFailure``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from memedit.errors import MemoryFailure, MissingResourceError, SettingsError
from memedit.memory.schema import META

_BUSY_SECONDS = 10.0
_WRITING = "memedit_writing"
# each only ever grows
_CHANGES = META.c.seq + META.c.generation + META.c.adapters + META.c.questions


class DuplicateKey(MemoryFailure):
    """A row with that key is already there."""


class Database:
    """Transactions on one database.  Safe for several threads."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Open it; with ``create=False`` a SQLite file must be there already.

        Raises:
            SettingsError: the URL is of no kind that is known.
            MemoryFailure: it cannot be opened, or is not there.

        """
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._in_memory = in_memory = self.is_sqlite and _is_in_memory(self.url)
        self._file = _file_of(self.url) if self.is_sqlite and not in_memory else None
        if self._file is not None and not create and not self._file.exists():
            raise MemoryFailure(
                f"there is no edit memory at {self._file}; "
                "'memedit add', 'import' and 'serve' make one"
            )
        options: dict[str, Any] = {"hide_parameters": True}  # edits never reach a log
        if in_memory:
            # One connection, since each would have a database of its own; so one user at a time.
            options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        elif self.is_sqlite:
            if "timeout" not in self.url.query:
                options["connect_args"] = {"timeout": _BUSY_SECONDS}
        else:
            options["pool_pre_ping"] = True
        self._gate: contextlib.AbstractContextManager[Any] = (
            threading.RLock() if in_memory else contextlib.nullcontext()
        )
        try:
            self._engine = create_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise MissingResourceError(
                f"the driver for {self.url.drivername} is not installed ({error.name}); "
                "install memedit[postgres]"
            ) from error
        if self.is_sqlite:
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._watch_lock = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        self._watch_owner: Any = None
        if self.is_sqlite and not in_memory:
            with _failures("open the database"):
                self._watch_owner = self._engine.raw_connection()
                self._watch = self._watch_owner.driver_connection
        self._inode = self._file.stat().st_ino if self._file is not None else None

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a transaction that sees one state of the database throughout."""
        with self._gate, _failures("read"), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a writing transaction; leaving it without an error makes it durable.

        Raises:
            MemoryFailure: nothing of it was written.

        """
        with self._gate, _failures("write"), self._engine.connect() as connection:
            connection.execution_options(**{_WRITING: True})
            with connection.begin():
                yield connection
                self._check_in_place()

    def _check_in_place(self) -> None:
        """Refuse to commit into a file that was taken away or replaced while it was open.

        Such a commit would succeed, and be gone with the last connection.
        """
        if self._file is None:
            return
        try:
            inode = self._file.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            raise MemoryFailure(
                f"the database file {self._file} was removed or replaced while in use; nothing "
                "was changed. Put it back and restart."
            )

    def change_token(self) -> int:
        """Return a number that differs once another connection has committed; cheap.

        SQLite keeps such a number for each connection; PostgreSQL is asked for its counters.
        """
        if self._in_memory:
            return 0  # nobody else can see it
        if self._watch is not None:
            with self._watch_lock, _failures("read"):
                return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
        with self._gate, _failures("read"), self._engine.connect() as connection:
            return int(connection.execute(select(_CHANGES)).scalar_one())

    def check(self) -> list[str]:
        """Let the database look for damage in itself; return what it found."""
        if not self.is_sqlite:
            return []
        with self.read() as connection:
            lines = connection.exec_driver_sql("PRAGMA quick_check").scalars().all()
            strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        faults = [f"database: {line}" for line in lines if line != "ok"]
        if strays:
            faults.append(f"database: {len(strays)} vectors belong to no edit")
        return faults

    def close(self) -> None:
        """Let go of all connections; may be called twice."""
        with self._watch_lock:
            if self._watch_owner is not None:
                self._watch_owner.close()
            self._watch_owner = self._watch = None
        self._engine.dispose()


def _read_url(given: str) -> URL:
    try:
        url = make_url(given)
    except ArgumentError:
        raise SettingsError(
            f"the memory's URL {given!r} cannot be read; "
            "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingsError(
            f"the memory cannot be kept in {url.get_backend_name()!r}; "
            "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    return url


def _file_of(url: URL) -> Path | None:
    """Return the file of a SQLite URL; ``None`` for one spelled ``file:...?uri=true``."""
    name = url.database or ""
    return None if name.startswith("file:") else Path(name).absolute()


def _is_in_memory(url: URL) -> bool:
    return not url.database or url.database == ":memory:" or url.query.get("mode") == "memory"


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    """Durable commits, readers that never wait for the writer, and no transactions by surprise."""
    connection.isolation_level = None  # begun by _begin_sqlite, not by the driver
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that read first and wrote then could
    # not wait for another writer, it could only fail.
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextlib.contextmanager
def _failures(doing: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise DuplicateKey(f"the edit memory cannot {doing}: {_reason(error)}") from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise MemoryFailure(
            f"the edit memory cannot {doing}: {_reason(error)}; nothing was changed. "
            "Check that the database is there, writable, not full and not locked."
        ) from error


def _reason(error: BaseException) -> str:
    """Return the driver's own words, without statements and values."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().split("\n")[0] or type(cause).__name__
