"""An export says what the model says."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from recommenders_miner.errors import FolderExistsError, RecommendersMinerError
from recommenders_miner.models import load_model
from recommenders_miner.serving import export as exporting
from recommenders_miner.serving.export import export_model
from recommenders_miner.serving.runtime import Recommender
from tests.command_line import run
from tests.models.toy import EVERY_MODEL, IDS, some_slow, toy_model, toy_news
from tests.serving.exports import exported, recommender

pytest.importorskip("tf2onnx")

FAST = ["miner", "nrms"]
VARIANTS = ["miner max", "miner mean without categories", "miner of one interest", "miner plm none", "miner plm last"]
VARIANTS += ["miner joined", "lstur con", "unbert nsep", "dkn with a vector for no clicks"]
every_toy = pytest.mark.parametrize(
    "name", some_slow([*EVERY_MODEL, *(VARIANTS if os.environ.get("RELIABILITY") else [])], FAST)
)
NOW = 1_700_000_000


def requests(count, seed=0):
    """Histories, none and of unknown length, of users known and unknown."""
    rng = np.random.default_rng(seed)
    histories = [rng.choice(IDS, rng.integers(0, 9)).tolist() for _ in range(count)]
    return histories, rng.choice(["U1", "U2", "nobody"], count).tolist()


@every_toy
def test_scores_and_ranking_are_the_models(name):
    model, served = toy_model(name), recommender(name)
    count = 1000 if name in EVERY_MODEL and name not in FAST else 100
    histories, users = requests(count)
    for user in sorted(set(users)):
        own = [history for history, of in zip(histories, users, strict=True) if of == user]
        wanted = model.score_histories(own, IDS, user)
        now = int(model.log_of_now([[]], IDS, user).time[0])
        found = np.array([served.score(history, IDS, user=user, now=now) for history in own])
        size = np.abs(wanted).max()
        assert np.abs(found - wanted).max() <= 1e-4 * size
        for history, scores in list(zip(own, wanted, strict=True))[:20]:
            best = served.recommend(history, k=4, user=user, now=now)
            shown = dict(best)
            assert not set(history) & set(shown)
            assert len(best) == min(4, len(set(IDS) - set(history)))
            left = [score for news_id, score in zip(IDS, scores, strict=True) if news_id not in {*history, *shown}]
            # Ranked as the model ranks, but where it makes a difference of less than a rounding error.
            assert min(shown.values()) >= max(left, default=-np.inf) - 1e-4 * size
            assert [shown[i] for i in shown] == sorted(shown.values(), reverse=True)


@pytest.mark.parametrize("name", some_slow(["miner", "hierec", "nrms", "miner max", "npa", "dkn", "libfm"], ["miner"]))
def test_an_explanation_is_the_models(name):
    model, served = toy_model(name), recommender(name)
    wanted, found = (of.explain(IDS[2:5], IDS[5:8], user="U1") for of in (model, served))
    wanted = wanted.to_json()
    assert found["history"] == wanted["history"]
    for one, other in zip(found["candidates"], wanted["candidates"], strict=True):
        assert (one["id"], one["title"], one["category"]) == (other["id"], other["title"], other["category"])
        assert one["influence"] == pytest.approx(other["influence"], abs=1e-4)
        for mine, theirs in zip(one["interests"], other["interests"], strict=True):
            assert mine["name"] == theirs["name"]
            assert mine["score"] == pytest.approx(theirs["score"], rel=1e-3, abs=1e-4)
            assert mine["weight"] == pytest.approx(theirs["weight"], rel=1e-3, abs=1e-4)
            assert mine["attention"] == (theirs["attention"] and pytest.approx(theirs["attention"], abs=1e-4))


@pytest.mark.parametrize("name", some_slow(["nrms", "miner", "lstur", "npa", "miner plm none"], ["nrms"]))
def test_a_saved_model_says_the_same(name, tmp_path):
    import tensorflow as tf

    manifest = export_model(toy_model(name), tmp_path / "out", format="saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    assert set(loaded.signatures) == set(manifest["parts"]) >= {"news", "user", "score"}


def test_half_precision_is_exported_in_float32(tmp_path):
    model = toy_model("nrms", precision="bfloat16")
    export_model(model, tmp_path / "out")
    served = Recommender.load(tmp_path / "out")
    served.add_table(toy_news())
    histories, _ = requests(20)
    found = [served.score(history, IDS) for history in histories]
    assert np.array(found) == pytest.approx(model.score_histories(histories, IDS), rel=0.05, abs=0.05)


def test_an_export_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", 1e-12)
    with pytest.raises(RecommendersMinerError, match="not kept: its scores differ"):
        export_model(toy_model("nrms"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_stands_there_stays(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderExistsError):
        export_model(toy_model("nrms"), tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_manifest_says_what_each_part_takes():
    manifest = json.loads((exported("miner") / "manifest.json").read_text())
    user = manifest["parts"]["user"]["inputs"]
    assert user["history.vector"] == {"dtype": "float32", "shape": ["rows", "clicks", 8]}
    assert manifest["search"] == {"aggregation": "weighted", "by_category": True, "exact": True}
    assert manifest["parity"]["largest_difference"] < 1e-5
    readme = (exported("miner") / "README.md").read_text()
    assert "`history.vector`: float32 ['rows', 'clicks', 8]" in readme
    assert manifest["name"] in readme


@pytest.mark.slow
def test_from_the_command_line(trained, tmp_path):
    said = run("export", trained, tmp_path / "out")
    assert "Its scores are the model's to" in said.replace("\n", " ")
    served, model = Recommender.load(tmp_path / "out"), load_model(trained / "model")
    served.add_table(toy_news())
    model.set_news(toy_news())
    assert served.score(IDS[:3], IDS[3:]) == pytest.approx(model.score(IDS[:3], IDS[3:]), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["miner", *(["lstur", "hierec"] if os.environ.get("RELIABILITY") else [])])
def test_what_jax_has_trained_is_exported(name, tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from tests.models.toy import *\n"
        "model = fresh_toy_model(sys.argv[1])\n"
        "model.fit(*write_files(Path(sys.argv[2])), verbose=0)\n"
        "model.save(Path(sys.argv[2]) / 'model')\n"
        "model.set_news(toy_news())\n"
        "np.save(Path(sys.argv[2]) / 'scores.npy', model.score_histories([[], IDS[:3], IDS[2:9]], IDS, 'U1'))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code, name, tmp_path], check=True, env=environment)
    export_model(tmp_path / "model", tmp_path / "out")
    served, wanted = Recommender.load(tmp_path / "out"), np.load(tmp_path / "scores.npy")
    served.add_table(toy_news())
    found = np.array([served.score(history, IDS, user="U1") for history in ([], IDS[:3], IDS[2:9])])
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
