"""Serve, log what users with a taste of their own click, train on it: the model that comes of it knows their taste."""

import time

import numpy as np
import pytest

from recommenders_miner.data.split import split_by_time
from recommenders_miner.datasets.served import convert_served
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS
from tests.serving.exports import exported

pytest.importorskip("fastapi")
pytest.importorskip("tf2onnx")

USERS, ARTICLES, TOPICS, DAYS = 40, 60, 3, 12


@pytest.mark.slow
def test_what_is_served_and_clicked_trains_a_better_model(tmp_path):
    from fastapi.testclient import TestClient

    from recommenders_miner.serving.server import create_app
    from recommenders_miner.serving.settings import Settings

    rng = np.random.default_rng(0)
    topic = rng.integers(0, TOPICS, ARTICLES)
    # A topic has words of its own, as real ones have; the first model has never heard of them.
    titles = [" ".join(f"topic{t}word{w}" for w in rng.integers(0, 12, 6)) for t in topic]
    rows = [f"A{i}\tnews\tnews\t{title}\t\t\t[]\t[]\n" for i, title in enumerate(titles)]
    (tmp_path / "news.tsv").write_text("".join(rows))
    taste = rng.integers(0, TOPICS, USERS)
    settings = Settings(
        exports=(exported("nrms"),),
        news=tmp_path / "news.tsv",
        store=f"sqlite:///{tmp_path}/store.sqlite",
        log=tmp_path / "log",
    )
    with TestClient(create_app(settings)) as client:
        _wait_until_ready(client)
        for day in range(DAYS):
            for user in rng.permutation(USERS):
                others = rng.choice(ARTICLES, 40, replace=False)  # other articles are not on the site today
                asked = {"user": f"U{user}", "k": 8, "exclude": [f"A{i}" for i in others]}
                answer = client.post("/v1/recommend", json=asked).json()
                events = [
                    {
                        "id": f"{day}-{user}-{i}",
                        "user": f"U{user}",
                        "article": i,
                        "type": "click",
                        "answer": answer["id"],
                    }
                    for i in (article["id"] for article in answer["articles"])
                    if rng.random() < (0.7 if topic[int(i[1:])] == taste[user] else 0.05)
                ]
                if events:
                    assert client.post("/v1/events", json={"events": events}).status_code == 200
    convert_served(tmp_path / "log", tmp_path / "data", tmp_path / "news.tsv")
    split_by_time(tmp_path / "data", tmp_path / "split", dev_share=0.25)
    files = [[tmp_path / "split" / part / f"{name}.tsv" for name in ("news", "behaviors")] for part in ("train", "dev")]
    values = {
        "word_embedding": None,
        "learning_rate": 5e-3,
        "epochs": 8,
        "batch_size": 32,
        "npratio": 4,
        "title_size": 8,
    }
    model = MODELS["nrms"](prepare_hparams("nrms", **values), seed=1)
    model.train_iterator.load_training(*files[0])
    model.build(model.train_iterator.vocabularies)
    before = model.run_eval(*files[1])["group_auc"]
    model.fit(*files[0], verbose=0)
    after = model.run_eval(*files[1])["group_auc"]
    assert after > max(before, 0.5) + 0.15


def _wait_until_ready(client):
    end = time.monotonic() + 60
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end, client.get("/readyz").text
        time.sleep(0.1)
