"""A recommender over random vectors, with the interface of `runtime.Recommender`, and services that answer by it."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.serving import service
from recommenders_miner.serving.server import app_from_environment, create_app
from recommenders_miner.serving.settings import Settings

TITLES = ("Storm over Funen", "Calm after the storm", "Élan wins the cup", "Budget passed", "STORM in parliament")
CATEGORIES = ("weather", "sports", "news")


def vector(text: str) -> np.ndarray:
    seed = int.from_bytes(blake2b(text.encode(), digest_size=4).digest())
    return np.random.default_rng(seed).standard_normal(8)


class FakeRecommender:
    kind, his_size = "fake", 50

    def __init__(self, name):
        self.name, self.recorded, self._rows = name, [], {}

    @classmethod
    def load(cls, export, snapshot=None):
        manifest = json.loads((export / "manifest.json").read_text())
        if "fails" in manifest:
            raise RecommendersMinerError(manifest["fails"])
        time.sleep(manifest.get("seconds", 0))
        model = cls(manifest["name"])
        if snapshot:
            model.add_articles(json.loads((snapshot / "rows.json").read_text()))
        return model

    def save_snapshot(self, folder):
        (folder / "rows.json").write_text(json.dumps(list(self._rows.values())))

    def add_articles(self, rows):
        rows = list(rows)
        if any("unreadable" in row for row in rows):
            raise RecommendersMinerError("the column unreadable cannot be read.")
        self._rows = self._rows | {row["id"]: dict(row) for row in rows}

    def remove(self, ids):
        gone = set(ids)
        self._rows = {id: row for id, row in self._rows.items() if id not in gone}

    def __contains__(self, id):
        return id in self._rows

    def __len__(self):
        return len(self._rows)

    def ids(self):
        return list(self._rows)

    def article(self, id):
        return self._rows[id]

    def recommend(self, history, k=10, *, user=None, max_age=None, where=None, exclude=(), now=None):
        rows, left_out, now = self._rows, {*history, *exclude}, time.time()
        ids = [
            id
            for id, row in rows.items()
            if id not in left_out
            and (max_age is None or row.get("published", 0) >= now - max_age)
            and all(row.get(name) in np.atleast_1d(value).tolist() for name, value in (where or {}).items())
        ]
        scores = self.score([id for id in history if id in rows], ids)
        return [(ids[place], float(scores[place])) for place in (-scores).argsort(kind="stable")[:k]]

    def apart(self):
        return type(self)(self.name)

    def score_pool(self, history, *, user=None, **limits):
        found, ids = dict(self.recommend(history, len(self._rows), **limits)), list(self._rows)
        return ids, np.array([found.get(id, -np.inf) for id in ids], np.float32)

    def score(self, history, candidates, *, user=None):
        interest = sum(map(vector, history), np.zeros(8))
        return np.array([interest @ vector(id) for id in candidates], np.float32)

    def explain(self, history, candidates, *, user=None):
        def shown(id):
            row = self._rows[id]
            return {"id": id, "category": row.get("category", ""), "title": row["title"]}

        known = [id for id in history if id in self._rows]
        scores = self.score(known, candidates).tolist()
        interests = [{"name": "user", "score": 1.0, "weight": 1.0, "attention": None}]
        return {
            "model": self.kind,
            "history": [shown(id) for id in known],
            "candidates": [
                {**shown(id), "clicked": None, "score": score, "interests": interests, "influence": [0.0] * len(known)}
                for id, score in zip(candidates, scores, strict=True)
            ],
        }

    def map(self, history, limit=2000, *, user=None):
        shown = ({"id": id, "title": row["title"], "category": ""} for id, row in list(self._rows.items())[:limit])
        placed = [{**row, "x": float(vector(row["id"])[0]), "y": float(vector(row["id"])[1])} for row in shown]
        return {"articles": placed, "interests": [{"name": "user", "x": 0.0, "y": 0.0}] if history else []}

    def record(self, events):
        self.recorded += events


def write_export(folder: Path, name: str, **more) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".manifest"
    temporary.write_text(json.dumps({"name": name, **more}))
    temporary.replace(folder / "manifest.json")
    return folder


def write_news(path: Path, count: int = 40) -> Path:
    lines = (
        f"N{i}\t{CATEGORIES[i % 3]}\tsub{i % 2}\t{TITLES[i % 5]} {i}\tAn abstract.\thttps://x\t[]\t[]\n"
        for i in range(count)
    )
    path.write_text("".join(lines), encoding="utf-8")
    return path


def app():
    """What uvicorn's processes make."""
    return app_from_environment(FakeRecommender.load)


# === A service in the process ===


@pytest.fixture
def made(tmp_path):
    """Settings of a service with 40 articles and two models, and its store in a file."""
    exports = write_export(tmp_path / "a", "fake-a"), write_export(tmp_path / "b", "fake-b")
    return Settings(exports, write_news(tmp_path / "news.tsv"), f"sqlite:///{tmp_path}/store.sqlite", (0.9, 0.1))


@pytest.fixture
def client(made):
    with serving(made) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A service that is not changed."""
    folder = tmp_path_factory.mktemp("shared")
    exports = write_export(folder / "a", "fake-a"), write_export(folder / "b", "fake-b")
    made = Settings(exports, write_news(folder / "news.tsv"), "sqlite:///:memory:", (0.9, 0.1))
    with serving(made) as client:
        yield client


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("FOLLOW_SECONDS", "WATCH_SECONDS", "POPULAR_SECONDS"):
        monkeypatch.setattr(service, name, 0.02)


@contextmanager
def serving(made, load=FakeRecommender.load):
    with TestClient(create_app(made, load), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


def until(condition, seconds=30):
    """Wait until a condition holds, and return what it has returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it has not come to pass"
        time.sleep(0.01)
    return found


def post(client, path, status=200, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def recommended(client, **body):
    return [article["id"] for article in post(client, "/v1/recommend", **body)["articles"]]


def event(id="e1", user="u1", article="N1", type="click", **more):
    return {"id": id, "user": user, "article": article, "type": type, **more}
