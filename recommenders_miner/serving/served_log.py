"""What was answered, clicked on and added, as JSON lines; `recommenders-miner convert served` makes a data set of them.

Each line says in `kind` what it is, and in `time` when, in Unix seconds:

    {"kind": "answer", "id": …, "time": …, "user": … or null, "model": …, "history": [ids, newest last],
     "articles": [ids, best first], "why": [why each is there],
     and where a policy arranged them "policy": its name, "policy_version": a digest of what it said}
    {"kind": "event", "id": …, "time": …, "user": …, "article": …, "type": "click" or "shown", "answer": … or null}
    {"kind": "article", "id": …, "time": …, "title": …, further columns}
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recommenders_miner.errors import NotWrittenError

LOGGER = logging.getLogger("recommenders_miner")

MOST_WAITING = 100_000
"""How many lines wait while the disk takes none; beyond that the oldest are dropped."""


class ServedLog:
    """Files of lines in a folder, one an hour (of UTC) and process: `served-20261129T09-PID-xxxxxxxx.jsonl`.

    A thread writes and syncs what has come in since the last time, so that a kill, or a power cut, costs what came in
    during the last `fsync_seconds`, and perhaps leaves a file whose last line is cut short, which readers pass over.
    While the disk takes no lines they wait, at most `MOST_WAITING`, and a warning is logged. Threads may share a log;
    processes may share its folder.

    Args:
        folder: is made when the first line is written.
        fsync_seconds: how long a line waits, at most.
    """

    def __init__(self, folder: str | Path, fsync_seconds: float = 1.0) -> None:
        self._folder = Path(folder)
        self._lines: list[str] = []
        self._adding, self._writing, self._closed = threading.Lock(), threading.Lock(), threading.Event()
        self._file: io.FileIO | None = None
        self._hour, self._dropped = "", 0
        self._thread = threading.Thread(target=self._run, args=(fsync_seconds,), name="served log", daemon=True)
        self._thread.start()

    def answer(self, document: Mapping[str, Any]) -> None:
        """Log an answer; see the head of this file."""
        self._add("answer", [document])

    def events(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Log clicks and showings."""
        self._add("event", documents)

    def article(self, document: Mapping[str, Any]) -> None:
        """Log an article that was added or changed, by its columns."""
        self._add("article", [{**document, "time": int(time.time())}])

    def _add(self, kind: str, documents: Iterable[Mapping[str, Any]]) -> None:
        now = int(time.time())
        lines = [json.dumps({"time": now, **document, "kind": kind}) + "\n" for document in documents]
        with self._adding:
            self._lines += lines

    def flush(self) -> None:
        """Write and sync all lines that were logged before.

        Raises:
            NotWrittenError: the disk is full, or the folder may not be written to; the lines wait.
        """
        with self._writing:
            with self._adding:
                lines, self._lines = self._lines, []
            if not lines:
                return
            try:
                self._write("".join(lines).encode())
            except OSError as error:
                with self._adding:
                    waiting = lines + self._lines
                    self._lines = waiting[-MOST_WAITING:]
                    self._dropped += len(waiting) - len(self._lines)
                raise NotWrittenError(self._folder, error) from error

    def _write(self, content: bytes) -> None:
        """Write whole lines and sync them, or leave the file as it was."""
        hour = datetime.now(UTC).strftime("%Y%m%dT%H")
        if self._file is None or hour != self._hour:
            self._folder.mkdir(parents=True, exist_ok=True)
            # In containers every process has the same id, and what a killed one left may end in half a line.
            name = f"served-{hour}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            if self._file is not None:
                self._file.close()
            self._file, self._hour = io.FileIO(self._folder / name, "xb"), hour
        size = self._file.tell()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
                self._file.seek(size)
            raise

    def _run(self, fsync_seconds: float) -> None:
        failed = False
        while not self._closed.wait(fsync_seconds):
            try:
                self.flush()
            except NotWrittenError as error:
                if not failed:
                    LOGGER.warning("The log of what is served waits: %s", error)
                failed = True
            else:
                if failed:
                    LOGGER.warning("The log of what is served is written again; %s lines are lost.", self._dropped)
                failed, self._dropped = False, 0

    def close(self) -> None:
        """Write what waits, and end.

        Raises:
            NotWrittenError: as `flush`.
        """
        self._closed.set()
        self._thread.join()
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None
