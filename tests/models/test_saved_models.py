"""Saved models: they score to the last bit as before, damage is found out, and nothing in them is run."""

from __future__ import annotations

import base64
import errno
import json
import marshal
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from recommenders_miner.data.log import CACHE_FOLDER
from recommenders_miner.errors import DataFormatError, HParamsError, NotWrittenError, RecommendersMinerError
from recommenders_miner.evaluation.scoring import LogScorer
from recommenders_miner.models import MODELS, load_model
from recommenders_miner.models.saving import DESCRIPTION, MODEL_FILE
from tests.models.toy import (
    COLD,
    IDS,
    every_model,
    fresh_toy_model,
    toy_model,
    toy_news,
    toy_preset,
    unbuilt,
    write_files,
)
from tests.tiny_plm import tiny_preset


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model that has vocabularies of all kinds but pieces; not to be written to."""
    folder = tmp_path_factory.mktemp("saved") / "libfm"
    toy_model("libfm").save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_the_vector_for_no_clicks_is_saved(tmp_path):
    model = toy_model(f"miner {COLD}")
    model.save(tmp_path / "saved")
    scores = loaded(tmp_path / "saved").score([], IDS)
    assert np.array_equal(scores, model.score([], IDS))
    assert len(np.unique(scores)) > len(IDS) / 2


def loaded(folder, of=None):
    model = load_model(folder) if of is None else of.load(folder)
    model.set_news(toy_news())
    return model


@every_model
def test_a_saved_model_scores_to_the_last_bit_as_before(name, tmp_path):
    model = toy_model(name)
    model.history = [{"loss": 0.5}]
    model.save(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [DESCRIPTION, MODEL_FILE]
    again = loaded(tmp_path / "saved", of=MODELS[name])
    for history in ([], IDS[:3]):
        assert np.array_equal(again.score(history, IDS, "U1"), model.score(history, IDS, "U1"))
    told = [(one.hparams.to_dict(), one.seed, one.history) for one in (model, again)]
    assert told[0] == told[1]
    description = json.loads((tmp_path / "saved" / DESCRIPTION).read_text())
    assert description["model"] == type(model).__name__
    assert description["hparams"] == json.loads(json.dumps(model.hparams.to_dict()))
    assert again.vocabularies.parts.keys() == model.vocabularies.parts.keys() - {"neighbours"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nrms", "miner plm"])
def test_a_saved_model_scores_the_same_in_a_new_process(name, tmp_path):
    """Which has met neither the preset, which is gone, nor keras_hub."""
    files = write_files(tmp_path)
    own = {"plm": tiny_preset(tmp_path / "preset")} if "plm" in name else {}
    model = unbuilt(name, **own).fit(*files, verbose=0)
    expected = np.concatenate(model.run_fast_eval(*files)[2])
    model.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "preset", ignore_errors=True)
    code = (
        "import sys, numpy as np\n"
        "from recommenders_miner import load_model\n"
        "folder, *files = sys.argv[1:]\n"
        "np.save(folder + '/scores.npy', np.concatenate(load_model(folder).run_fast_eval(*files)[2]))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "saved", *files], check=True, capture_output=True)
    assert np.load(tmp_path / "saved" / "scores.npy") == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_saving_replaces_a_saved_model_and_nothing_else(folder):
    (folder / "thesis.tex").write_text("precious")
    other = fresh_toy_model("libfm", seed=2)
    other.save(folder)
    assert np.array_equal(loaded(folder).score(IDS[:3], IDS), other.score(IDS[:3], IDS))
    assert (folder / "thesis.tex").read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION, MODEL_FILE, "thesis.tex"]


@pytest.mark.parametrize(
    "full",
    ["models.network.NewsRecommender.save", "data.vocabularies.Vocabularies.save", "data.vocabulary.Vocabulary.save"],
)
def test_a_full_disk_leaves_the_saved_model_whole(folder, saved, monkeypatch, full):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(f"recommenders_miner.{full}", no_room)
        with pytest.raises(NotWrittenError, match="No space left on device"):
            fresh_toy_model("libfm", seed=2).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in saved.iterdir()
    }


# === What is no saved model ===


def test_loading_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(RecommendersMinerError, match="holds a LibFMModel, not a LSTURModel"):
        MODELS["lstur"].load(folder)
    with pytest.raises(RecommendersMinerError, match="holds no saved model"):
        load_model(tmp_path)


def rewrite(folder, change):
    """Write the archive anew with members that `change` makes of its own."""
    with zipfile.ZipFile(folder / MODEL_FILE) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / MODEL_FILE, "w") as archive:
        for name, content in change(members).items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def changed_json(member, change):
    return lambda members: {**members, member: json.dumps(change(json.loads(members[member]))).encode()}


def description(**changes):
    return changed_json("assets/model.json", lambda content: content | changes)


def refused(folder, error=DataFormatError):
    with pytest.raises(error) as caught:
        load_model(folder)
    assert error is HParamsError or caught.value.path == folder / MODEL_FILE
    return str(caught.value)


@pytest.mark.slow
def test_a_damaged_archive_is_refused(folder):
    whole = (folder / MODEL_FILE).read_bytes()
    with zipfile.ZipFile(folder / MODEL_FILE) as archive:
        starts = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
    assert {"config.json", "assets/words.txt", "assets/terms/term_idf.txt"} < starts.keys()
    for start in starts.values():  # a byte of each member's content
        (folder / MODEL_FILE).write_bytes(whole[: start + 20] + bytes([whole[start + 20] ^ 1]) + whole[start + 21 :])
        refused(folder)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (folder / MODEL_FILE).write_bytes(whole[:cut])
        refused(folder)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "assets/model.json"])
def test_an_archive_that_lacks_something_is_refused(folder, member):
    rewrite(folder, lambda members: {name: content for name, content in members.items() if name != member})
    refused(folder)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (description(format=99), DataFormatError),
        (description(model="os.system"), DataFormatError),
        (description(hparams={"data": {}}), DataFormatError),
        (lambda members: {**members, "assets/words.txt": b"\xff"}, DataFormatError),
        (lambda members: {**members, "config.json": b"{}"}, DataFormatError),
        (lambda members: {**members, "model.weights.h5": members["model.weights.h5"][:2000]}, DataFormatError),
        (lambda members: {**members, "assets/bomb": bytes(10**8)}, DataFormatError),
        (lambda members: {**members, "../evil.txt": b"x"}, DataFormatError),
        (lambda members: {**members, "/tmp/recommenders-miner-evil.txt": b"x"}, DataFormatError),
        (description(hparams={**toy_model("libfm").hparams.to_dict(), "train": {"learning_rate": -1.0}}), HParamsError),
    ],
)
def test_an_archive_that_says_something_else_is_refused(folder, change, error):
    before = set(folder.parent.rglob("*"))
    rewrite(folder, change)
    refused(folder, error)
    assert set(folder.parent.rglob("*")) == before


def test_another_models_archive_is_refused(folder):
    keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]).save(folder / MODEL_FILE)
    refused(folder)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["news_encoder", "click_predictor"])
def test_a_lambda_in_an_archive_is_refused_and_not_run(folder, tmp_path, place):
    sentinel = tmp_path / "ran"
    function = eval(f"lambda x: open({str(sentinel)!r}, 'w').close() or x")
    code = base64.b64encode(marshal.dumps(function.__code__)).decode()
    payload = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    evil = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": payload}}
    rewrite(folder, changed_json("config.json", lambda found: {**found, "config": {**found["config"], place: evil}}))
    assert "Lambda" in refused(folder) or "lambda" in refused(folder)
    assert not sentinel.exists()


def test_a_model_over_a_language_model_brings_its_pieces_along(tmp_path):
    model = toy_model("miner plm", plm=tiny_preset(tmp_path / "preset"))
    model.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "preset")
    again = load_model(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved")
    again.set_news(toy_news())
    assert np.array_equal(again.score(IDS[:2], IDS), model.score(IDS[:2], IDS))
    assert toy_preset() not in again.hparams.plm


# === What a loaded model encodes is kept beside it ===


@pytest.fixture
def encodings(monkeypatch):
    """The sizes of the tables that are encoded; those of five articles and more are kept."""
    sizes, encode = [], LogScorer.encode_news

    def counted(scorer, features):
        sizes.append(len(next(iter(features.values()))))
        return encode(scorer, features)

    monkeypatch.setattr(LogScorer, "encode_news", counted)
    monkeypatch.setattr(LogScorer.__init__, "__kwdefaults__", {"user_aware": False, "news_batch": 5})
    return sizes


def kept(folder):
    return sorted(path.name for path in folder.glob(f"{CACHE_FOLDER}/*"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nrms", {}),
        ("miner", {}),
        ("npa", {}),
        ("glory", {}),
        ("nrms", {"precision": "bfloat16"}),
        ("nrms-plm none", {}),
    ],
)
def test_news_are_encoded_once_for_all_who_load_a_model(name, options, tmp_path, encodings):
    toy_model(name, **options).save(tmp_path)
    first, again = (loaded(tmp_path).encode_news(IDS) for _ in range(2))
    assert encodings == [13]
    assert len(kept(tmp_path)) == 1
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert [of.dtype for of in again.values()] == [
        of.dtype for of in toy_model(name, **options).encode_news(IDS).values()
    ]
    expected = toy_model(name, **options).score(IDS[:3], IDS, "U1")
    tolerance = 0 if keras.backend.backend() == "tensorflow" else 1e-6  # XLA's threads may add up in another order
    assert np.allclose(loaded(tmp_path).score(IDS[:3], IDS, "U1"), expected, rtol=0, atol=tolerance)


def test_what_was_encoded_is_of_those_weights_and_that_table_alone(tmp_path, encodings):
    model = fresh_toy_model("nrms")
    model.save(tmp_path)
    for _ in range(2):
        other = loaded(tmp_path)
        other.network.weights[0].assign(other.network.weights[0] + 1)
        scores = other.score(IDS[:2], IDS)
    assert encodings == [13]
    assert not np.array_equal(scores, loaded(tmp_path).score(IDS[:2], IDS))
    assert encodings == [13, 13]
    other.set_news(toy_news().select(IDS[::-1]))
    assert other.score(IDS[:2], IDS) == pytest.approx(scores, abs=1e-5)
    assert encodings == [13] * 3
    for size in (6, 7, 8):
        other.set_news(toy_news().select(IDS[:size]))
        other.score(IDS[:1], IDS[:3])
    assert len(kept(tmp_path)) == 3


def test_small_tables_are_not_kept_nor_any_where_nothing_is_to_be(tmp_path, encodings):
    toy_model("nrms").save(tmp_path / "one")
    model = loaded(tmp_path / "one")
    model.set_news(toy_news().select(IDS[:4]))
    model.score(IDS[:1], IDS[:3])
    toy_model("nrms", cache=False).save(tmp_path / "other")
    loaded(tmp_path / "other").score(IDS[:1], IDS)
    assert kept(tmp_path / "one") == kept(tmp_path / "other") == []
    assert encodings == [5, 13]


def test_news_are_encoded_once_where_nothing_can_be_kept(tmp_path, encodings, caplog):
    toy_model("nrms").save(tmp_path)
    (tmp_path / CACHE_FOLDER).write_text("a file stands where the folder would")
    scores = loaded(tmp_path).score(IDS[:2], IDS)
    assert np.array_equal(scores, toy_model("nrms").score(IDS[:2], IDS))
    assert encodings[0] == 13
    assert "No cache of the encoded news could be kept" in caplog.text
    (tmp_path / CACHE_FOLDER).unlink()
    loaded(tmp_path).score(IDS[:2], IDS)
    [path] = (tmp_path / CACHE_FOLDER).glob("*/vector.bin")
    path.write_bytes(path.read_bytes()[:-1])
    assert np.array_equal(loaded(tmp_path).score(IDS[:2], IDS), scores)
    assert "is removed and will be rebuilt" in caplog.text
