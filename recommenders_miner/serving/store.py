"""The store of what a service keeps of users and articles, by its URL: here in SQLite, in redis_store.py in Redis."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

from recommenders_miner.serving.events import COUNTED_HOURS, DAY, Counted, Event, Store, StoreError, this_hour

__all__ = ["Event", "SQLiteStore", "Store", "StoreError", "open_store"]


def open_store(url: str, kept: int = 200, remembered: float = 7.0) -> Store:
    """Open a store, which is made if there is none.

    Args:
        url: `sqlite:///PATH`, with four slashes where the path is absolute, and perhaps `?synchronous=full` (else
            `normal`); `sqlite:///:memory:`; or `redis://host:port/db`, `rediss://` with TLS, for Redis and Valkey.
        kept: clicks of a user that are kept, the newest.
        remembered: for how many days ids of events are known again, at least.

    Raises:
        StoreError: there is no such kind of store, it cannot be reached, or its client is not installed.
    """
    if url.startswith(("redis://", "rediss://")):
        try:
            from recommenders_miner.serving.redis_store import RedisStore
        except ImportError:
            raise StoreError("A store in Redis needs its client: pip install 'recommenders-miner[serve]'.") from None
        return RedisStore(url, kept, remembered)
    path, _, query = url.removeprefix("sqlite:///").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "normal").lower()
    if not url.startswith("sqlite:///") or not path or options or synchronous not in ("full", "normal"):
        forms = "sqlite:///relative/path, sqlite:////absolute/path, either with ?synchronous=full, redis://host:port/db"
        raise StoreError(f"{url}: no such store. Expected one of {forms}.")
    return SQLiteStore(path, synchronous, kept, remembered)


_LAYOUT = 1  # of the tables; raise it when they change
_TABLES = (
    "CREATE TABLE clicks (user TEXT, time INTEGER, arrival INTEGER, article TEXT, PRIMARY KEY (user, time, arrival)) "
    "WITHOUT ROWID",
    "CREATE TABLE seen (number INTEGER PRIMARY KEY, id BLOB UNIQUE, time REAL)",
    "CREATE TABLE counts (hour INTEGER, article TEXT, click INTEGER, shown INTEGER, PRIMARY KEY (hour, article)) "
    "WITHOUT ROWID",
    "CREATE TABLE articles (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, row TEXT)",
    f"PRAGMA user_version = {_LAYOUT}",
)
# The oldest ids are in front. A batch removes up to twice as many as it brings: no pause to tidy up, no second index.
_FORGET_IDS = "DELETE FROM seen WHERE number IN (SELECT number FROM seen ORDER BY number LIMIT ?) AND time <= ?"
_REMEMBER = "INSERT OR IGNORE INTO seen (id, time) VALUES (?, ?)"
_COUNT = "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET {0} = {0} + 1"
_ADD_CLICK = (
    "INSERT INTO clicks SELECT ?1, ?2, ifnull(max(arrival), 0) + 1, ?3 FROM clicks WHERE user = ?1 AND time = ?2"
)
_TABLE_OF_SHOWINGS = (
    "CREATE TABLE IF NOT EXISTS showings (user TEXT, article TEXT, hour INTEGER, times INTEGER, "
    "PRIMARY KEY (user, article)) WITHOUT ROWID"
)
_ADD_SHOWING = (
    "INSERT INTO showings VALUES (?, ?, ?, 1) "
    "ON CONFLICT DO UPDATE SET times = times + 1, hour = max(hour, excluded.hour)"
)
_CUT = (
    "DELETE FROM clicks WHERE user = ?1 AND (time, arrival) <= "
    "(SELECT time, arrival FROM clicks WHERE user = ?1 ORDER BY time DESC, arrival DESC LIMIT 1 OFFSET ?2)"
)


class SQLiteStore(Store):
    """A store in a file on this machine's disk, or in memory (":memory:").

    A click that was recorded outlives a kill of the process, and with `synchronous="full"` a power cut, too. What was
    forgotten is overwritten in the file.
    """

    _errors = sqlite3.Error, OSError
    _remedy = "It needs a local disk that is not full, and a file that was made by SQLite."

    def __init__(self, path: str, synchronous: Literal["normal", "full"], kept: int, remembered: float) -> None:
        super().__init__(f"sqlite:///{path}", kept, remembered)
        in_memory = path == ":memory:"
        # Who reads does not wait while another thread writes.
        self._writing = threading.RLock()
        self._reading = self._writing if in_memory else threading.RLock()
        with self._told():
            if not in_memory:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._writer = _connect(path, synchronous)
            self._reader = self._writer if in_memory else _connect(path, synchronous)
        with self._transaction() as db:
            [layout] = db.execute("PRAGMA user_version").fetchone()
            if layout not in (0, _LAYOUT):
                raise StoreError(f"{self.name}: its tables are of another version ({layout}). Choose another file.")
            for statement in _TABLES if layout == 0 else ():
                db.execute(statement)
            db.execute(_TABLE_OF_SHOWINGS)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._told(), self._writer as db:
            db.execute("BEGIN IMMEDIATE")  # to ask for the lock later would fail where another process has written
            yield db

    def _read(self, query: str, *values: object) -> list[tuple]:
        with self._reading, self._told():
            return self._reader.execute(query, values).fetchall()

    def record(self, events: Sequence[Event], keep_showings: bool = False) -> list[bool]:
        """See `Store`."""
        now = time.time()
        with self._transaction() as db:
            db.execute(_FORGET_IDS, (2 * len(events), now - self.remembered * DAY))
            db.execute("DELETE FROM counts WHERE hour < ?", (this_hour() - COUNTED_HOURS,))
            are_new = [db.execute(_REMEMBER, (event.digest, now)).rowcount == 1 for event in events]
            new = list(compress(events, are_new))
            for event in new:
                counts = int(event.type == "click"), int(event.type == "shown")
                db.execute(_COUNT.format(event.type), (event.hour, event.article, *counts))
            clicks = [(event.user, event.time, event.article) for event in new if event.type == "click"]
            db.executemany(_ADD_CLICK, clicks)
            db.executemany(_CUT, [(user, self.kept) for user in {user for user, _, _ in clicks}])
            oldest = this_hour() - COUNTED_HOURS
            for event in new if keep_showings else ():
                if event.type == "click":
                    db.execute("DELETE FROM showings WHERE user = ? AND article = ?", (event.user, event.article))
                elif event.hour >= oldest:
                    db.execute("DELETE FROM showings WHERE user = ? AND hour < ?", (event.user, oldest))
                    db.execute(_ADD_SHOWING, (event.user, event.article, event.hour))
        return are_new

    def history(self, user: str, limit: int) -> list[tuple[str, int]]:
        """See `Store`."""
        query = "SELECT article, time FROM clicks WHERE user = ? ORDER BY time DESC, arrival DESC LIMIT ?"
        return self._read(query, user, limit)[::-1]

    def showings(self, user: str) -> dict[str, int]:
        """See `Store`."""
        query = "SELECT article, times FROM showings WHERE user = ? AND hour >= ?"
        return dict(self._read(query, user, this_hour() - COUNTED_HOURS))

    def forget(self, user: str) -> int:
        """See `Store`."""
        with self._transaction() as db:
            db.execute("DELETE FROM showings WHERE user = ?", (user,))
            removed = db.execute("DELETE FROM clicks WHERE user = ?", (user,)).rowcount
        with self._writing, self._told():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # older copies of pages stand in the journal
        return removed

    def _counts(self, first_hour: int) -> list[Counted]:
        return self._read("SELECT article, sum(click), sum(shown) FROM counts WHERE hour >= ? GROUP BY 1", first_hour)

    def _put(self, id: str, text: str) -> int:
        with self._transaction() as db:
            return db.execute("REPLACE INTO articles (id, row) VALUES (?, ?)", (id, text)).lastrowid

    def _changes(self, number: int) -> list[tuple[int, str, str]]:
        return self._read("SELECT number, id, row FROM articles WHERE number > ? ORDER BY number", number)

    def ping(self) -> None:
        """See `Store`."""
        self._read("SELECT 1 FROM clicks LIMIT 1")

    def close(self) -> None:
        """See `Store`."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()


def _connect(path: str, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = WAL", f"synchronous = {synchronous}", "secure_delete = ON"):
        db.execute(f"PRAGMA {setting}")
    return db
