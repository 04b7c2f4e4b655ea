"""The log of what is served: whole lines, synced in batches, in a file an hour and process."""

import errno
import json
import logging
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from recommenders_miner.errors import NotWrittenError
from recommenders_miner.serving import served_log
from recommenders_miner.serving.served_log import ServedLog


def lines(folder):
    return [json.loads(line) for path in sorted(folder.glob("*")) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path):
    log = ServedLog(tmp_path / "logs", fsync_seconds=60)  # nothing is written but by flush and close
    yield log
    log.close()


def test_lines_say_what_they_are_and_when(log, tmp_path):
    began = int(time.time())
    log.answer({"id": "1", "user": None, "articles": ["Ä", "\ud800"], "time": 7})
    log.events([{"id": "2", "time": 8}, {"id": "3"}])
    log.article({"id": "4", "title": "T", "kind": "of its own", "time": "noon"})
    assert not (tmp_path / "logs").exists()
    log.flush()
    first, second, third, fourth = lines(tmp_path / "logs")
    assert first == {"kind": "answer", "id": "1", "user": None, "articles": ["Ä", "\ud800"], "time": 7}
    assert second == {"kind": "event", "id": "2", "time": 8}
    assert (third["kind"], fourth["kind"], fourth["title"]) == ("event", "article", "T")
    assert began <= third["time"] <= fourth["time"] <= time.time()


def test_a_thread_writes_before_long(tmp_path):
    log = ServedLog(tmp_path, fsync_seconds=0.02)
    log.answer({"id": "1"})
    for _ in range(500):
        if any(tmp_path.iterdir()) and lines(tmp_path):
            break
        time.sleep(0.01)
    assert [line["id"] for line in lines(tmp_path)] == ["1"]
    log.close()


def test_threads_share_a_log_and_close_writes_the_rest(tmp_path):
    log = ServedLog(tmp_path, fsync_seconds=0.001)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda k: log.events([{"id": f"{k}-{n}", "of": k} for n in range(3)]), range(300)))
    log.close()
    assert {line["id"] for line in lines(tmp_path)} == {f"{k}-{n}" for k in range(300) for n in range(3)}
    assert len(lines(tmp_path)) == 900
    in_order = [line["of"] for line in lines(tmp_path)]
    assert all(len(set(in_order[k : k + 3])) == 1 for k in range(0, 900, 3))


def test_every_hour_and_process_has_its_file(log, tmp_path, monkeypatch):
    now = datetime(2026, 11, 29, 9, 59, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, zone):
            return now

    monkeypatch.setattr(served_log, "datetime", Clock)
    log.answer({"id": "1"})
    log.flush()
    log.answer({"id": "2"})
    log.flush()
    now = now.replace(hour=10)
    log.answer({"id": "3"})
    log.flush()
    other = ServedLog(tmp_path / "logs")  # in a container, it may have the same process id
    other.answer({"id": "4"})
    other.close()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert [re.sub("-[0-9a-f]{8}[.]", ".", name) for name in names] == [
        f"served-20261129T{hour}-{os.getpid()}.jsonl" for hour in ("09", "10", "10")
    ]
    assert sorted(line["id"] for line in lines(tmp_path / "logs")) == ["1", "2", "3", "4"]


def test_lines_wait_while_the_disk_is_full_and_are_written_once(log, tmp_path, monkeypatch):
    log.answer({"id": "0"})
    log.flush()
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    log.answer({"id": "1"})
    for _ in range(2):
        with pytest.raises(NotWrittenError, match=r"logs: not written \(No space left"):
            log.flush()
    assert [line["id"] for line in lines(tmp_path / "logs")] == ["0"]
    monkeypatch.setattr(served_log, "MOST_WAITING", 3)
    log.events([{"id": str(k)} for k in range(2, 6)])
    with pytest.raises(NotWrittenError):
        log.flush()
    monkeypatch.setattr(os, "fsync", real)
    log.answer({"id": "6"})
    log.flush()
    assert [line["id"] for line in lines(tmp_path / "logs")] == ["0", "3", "4", "5", "6"]


def test_a_warning_says_that_lines_wait_and_that_they_are_written_again(tmp_path, caplog):
    (tmp_path / "logs").write_text("in the way")
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        log = ServedLog(tmp_path / "logs", fsync_seconds=0.01)
        log.answer({"id": "1"})
        for wanted in (1, 2):
            for _ in range(500):
                if len(caplog.messages) >= wanted:
                    break
                time.sleep(0.01)
            (tmp_path / "logs").unlink(missing_ok=True) if wanted == 1 else None
        log.close()
    assert re.fullmatch("The log of what is served waits: .*logs: not written .*", caplog.messages[0])
    assert caplog.messages[1:] == ["The log of what is served is written again; 0 lines are lost."]
    assert [line["id"] for line in lines(tmp_path / "logs")] == ["1"]


def test_a_kill_costs_what_was_not_flushed(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from recommenders_miner.serving.served_log import ServedLog\n"
        "log = ServedLog(sys.argv[1], 60)\n"
        "log.answer({'id': 'kept'}); log.flush(); log.answer({'id': 'lost'})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", code, tmp_path], env=environment)
    assert [line["id"] for line in lines(tmp_path)] == ["kept"]
