"""Killing processes at random moments, and looking at what they left: downloads, caches, saved models, trainings.

After every kill the next reader must find what was there before or what was being written, whole, and the next writer
must clear up.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets import mind
from tests.datasets import loopback, mind_like
from tests.kill import children

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.kill.preload"])
_LONGEST_START, _LONGEST_RUN = 120, 300
_ROWS_TO_FETCH, _BALLAST_TO_FETCH, _PAUSE_OF_THE_HUB = 20_000, 4 * 2**20, 0.003
_REPEATS_OF_THE_LOG = 40
_MOST_KILLS_OF_A_TRAINING = 5


@dataclass
class Report:
    """What a scenario saw.

    Attributes:
        kills: processes that died while at work.
        found: what the kills left, and how often.
        seconds: what it took.
    """

    kills: int = 0
    found: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Child:
    """A process that does something and may be killed at it.

    Args:
        work: a function of `children`.
        arguments: its arguments behind the pipe.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._hear(_LONGEST_START, children.BEGUN)

    def kill_after(self, seconds: float) -> bool:
        """Kills the process some time after it began; returns whether it was still at work then."""
        ended = self._pipe.poll(seconds)
        if ended:
            self._hear(0, children.DONE)
        self._process.kill()
        self._process.join()
        return not ended

    def wait(self) -> float:
        """Lets the process end by itself; returns how long it took, in seconds."""
        began = time.perf_counter()
        self._hear(_LONGEST_RUN, children.DONE)
        took = time.perf_counter() - began
        self._process.join()
        return took

    def _hear(self, seconds: float, expected: str) -> None:
        try:
            heard = self._pipe.recv() if self._pipe.poll(seconds) else None
        except EOFError:
            self._process.join()
            heard = f"exit status {self._process.exitcode}"
        if heard != expected:
            self._process.kill()
            raise AssertionError(f"expected {expected!r} of the process within {seconds} s, got {heard!r}")


# === Downloads ===


def kill_fetching(kills: int, workplace: Path, rng: random.Random) -> Report:
    """Kills processes that fetch MIND from a hub that breaks off now and then, or take it out of zip files."""
    report, began = Report(), time.perf_counter()
    splits = {split: mind_like.split_files(split, _ROWS_TO_FETCH) for split in ("train", "dev")}
    for files in splits.values():
        files["entity_embedding.vec"] = rng.randbytes(_BALLAST_TO_FETCH)
    zips = {f"MINDsmall_{split}.zip": mind_like.zipped(files) for split, files in splits.items()}
    expected = {f"{split}/{name}": content for split, files in splits.items() for name, content in files.items()}
    facts = {"zips": {}, "small": {split: mind_like.facts(files) for split, files in splits.items()}}
    given, out = mind_like.write(workplace / "given", zips), workplace / "mind"
    with loopback.running() as server:
        for name, content in zips.items():
            server.serve(f"/datasets/{mind.HUB_REPOSITORIES[0]}/{name}", _moody(content, rng))

        def fetch(source: Path | None) -> Child:
            return Child(children.fetch, out, workplace / "home", facts, source, server.url + "/{repo_id}/{filename}")

        def fetch_all(source: Path | None) -> float:
            seconds = fetch(source).wait()
            assert mind_like.read(out) == expected, "the next run was to end what was begun"
            assert not list(out.rglob(".*")), "the next run was to clear up"
            shutil.rmtree(out)
            return seconds

        longest = {source: fetch_all(source) for source in (None, given)}
        while report.kills < kills:
            source = rng.choice([None, given])
            killed = fetch(source).kill_after(rng.uniform(0, longest[source]))
            report.kills += killed
            whole, part = _require_sound_downloads(out, splits, zips)
            report.found[f"{whole} of 2 splits" + (" and a part of a file" if part else "")] += killed
            if rng.random() < 0.5:
                fetch_all(source)
        report.found["requests that went on with a part"] = sum("Range" in headers for _, headers in server.requests)
    report.seconds = time.perf_counter() - began
    return report


def _moody(content: bytes, rng: random.Random) -> Callable[..., None]:
    """Serves a file at no great speed, and every third time not to its end."""
    slow = functools.partial(loopback.cut, content, pause=_PAUSE_OF_THE_HUB)

    def answer(handler: Any, server: Any) -> None:
        slow(sends=rng.randrange(len(content)) if rng.random() < 1 / 3 else len(content))(handler, server)

    return answer


def _require_sound_downloads(out: Path, splits: dict[str, Any], zips: dict[str, bytes]) -> tuple[int, bool]:
    """Returns how many splits are there, each of which must be whole, and whether part of a zip file is."""
    there = [split for split in splits if (out / split).exists()]
    for split in there:
        assert mind_like.read(out / split) == splits[split], f"{split} is not whole"
    parts = 0
    for path in out.rglob("*.zip*"):
        name, is_part = path.name.removeprefix(".").partition(".part")[:2]
        if path.suffix == ".json" or path.name.endswith(".tmp"):
            continue
        content = path.read_bytes()
        assert content == (zips[name][: len(content)] if is_part else zips[name]), f"{path} is not of {name}"
        parts += bool(is_part)
    return len(there), parts > 0


# === Caches ===


def kill_cache_building(kills: int, data: Path, workplace: Path, rng: random.Random) -> Report:
    """Kills processes that read a log and keep its cache."""
    report, began = Report(), time.perf_counter()
    behaviors = workplace / "behaviors.tsv"
    behaviors.write_bytes((data / "train" / "behaviors.tsv").read_bytes() * _REPEATS_OF_THE_LOG)
    news_file = data / "train" / "news.tsv"
    news = NewsTable.read(news_file)
    expected = ImpressionLog.read(behaviors, news, cache=False)
    root = workplace / CACHE_FOLDER
    times = []
    for _ in range(3):
        times.append(Child(children.build_cache, news_file, behaviors).wait())
        shutil.rmtree(root)
    while report.kills < kills:
        child = Child(children.build_cache, news_file, behaviors)
        killed = child.kill_after(rng.uniform(0, min(times)))
        report.kills += killed
        entries = [] if not root.exists() else [path for path in root.iterdir() if not path.name.startswith(".")]
        for entry in entries:
            cached = array_cache.load(entry, entry.name.removeprefix("behaviors-"), verify=True)
            assert cached is not None, f"{entry} is damaged"
        report.found["the cache, whole" if entries else "no cache"] += killed
        report.found["a workplace left behind"] += killed and root.exists() and len(list(root.iterdir())) > len(entries)
        if rng.random() < 0.5:
            _require_same_log(ImpressionLog.read(behaviors, news), expected)
            left = [path.name for path in root.iterdir() if path.name.startswith(".")]
            assert entries or not left, "the next run was to clear up"
            shutil.rmtree(root)
    report.seconds = time.perf_counter() - began
    return report


def _require_same_log(log: ImpressionLog, expected: ImpressionLog) -> None:
    for name, values in vars(expected).items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(getattr(log, name), values)
    assert log.users.equals(expected.users)


# === Saved models ===


def kill_saving(kills: int, models: tuple[Path, Path], workplace: Path, rng: random.Random) -> Report:
    """Kills processes that save two models over each other."""
    from recommenders_miner.models import load_model

    report, began = Report(), time.perf_counter()
    first, second = (load_model(folder) for folder in models)
    folder = workplace / "saved"
    start = time.perf_counter()
    first.save(folder)
    longest = 3 * (time.perf_counter() - start)
    while report.kills < kills:
        child = Child(children.save_in_turns, models, folder)
        report.kills += child.kill_after(rng.uniform(0, longest))
        report.found["neither, until the next run put the new one in its place"] += not folder.exists()
        report.found["a workplace left behind"] += len(list(workplace.iterdir())) > folder.exists()
        loaded = load_model(folder)
        same = [_same_weights(loaded, model) for model in (first, second)]
        assert sum(same) == 1, "the folder is to hold one of the two models"
        report.found["the first model" if same[0] else "the second model"] += 1
        if rng.random() < 0.5:
            first.save(folder)
            assert [path.name for path in workplace.iterdir()] == [folder.name], "the next run was to clear up"
    report.seconds = time.perf_counter() - began
    return report


def _same_weights(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    pairs = zip(one.network.weights, other.network.weights, strict=True)
    return all(np.allclose(np.array(a), np.array(b), rtol=0, atol=tolerance) for a, b in pairs)


# === Trainings ===


def kill_training(kills: int, data: Path, workplace: Path, rng: random.Random) -> Report:
    """Kills trainings that go on from their checkpoint, and compares where they end with an unbroken one."""
    from recommenders_miner.models import load_model

    report, began = Report(), time.perf_counter()
    unbroken, out = workplace / "unbroken", workplace / "broken"
    longest = Child(children.train, data, unbroken).wait()
    expected = load_model(unbroken / "model")
    while report.kills < kills:
        broken = 0
        while report.kills < kills and broken < _MOST_KILLS_OF_A_TRAINING:
            killed = Child(children.train, data, out).kill_after(rng.uniform(0, 0.8 * longest))
            report.kills += killed
            broken += killed
            report.found[f"{_epochs_done(out)} epochs done"] += killed
            if not killed:
                break
        Child(children.train, data, out).wait()
        model = load_model(out / "model")
        assert _same_weights(model, expected, tolerance=1e-6)
        _require_same_history(model.history, expected.history)
        assert sorted(path.name for path in out.iterdir()) == ["checkpoint.npz", "model"], (
            "the last run was to clear up"
        )
        report.found[f"trainings that ended as the unbroken one, killed {broken} times"] += 1
        shutil.rmtree(out)
    report.seconds = time.perf_counter() - began
    return report


def _epochs_done(out: Path) -> int:
    """The epochs that the checkpoint holds, which must be readable if it is there."""
    checkpoint = out / "checkpoint.npz"
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint, allow_pickle=False) as stored:
        for name in stored.files:
            stored[name]
        return json.loads(bytes(stored["record"]).decode())["epochs_done"]


def _require_same_history(history: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [set(epoch) for epoch in history] == [set(epoch) for epoch in expected]
    for epoch, other in zip(history, expected, strict=True):
        for name, value in epoch.items():
            assert abs(value - other[name]) < 1e-5, (name, value, other[name])
