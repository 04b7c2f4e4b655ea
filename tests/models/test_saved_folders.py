"""Folders of saved models: changed ones are found out, and malicious ones run nothing."""

from __future__ import annotations

import base64
import errno
import json
import logging
import marshal
import os
import shutil
import zipfile

import keras
import pytest

from recommenders_miner.errors import DataFormatError, NotWrittenError, PresetError, RecommendersMinerError
from recommenders_miner.io.pieces import Pieces
from recommenders_miner.manifest import MANIFEST, write_manifest
from recommenders_miner.models import load_model
from recommenders_miner.models.saving import DESCRIPTION, NETWORK
from tests.models.toy import IDS, fresh_toy_model

CONFIG = "config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model that has every file there is but word pieces; not to be written to."""
    folder = tmp_path_factory.mktemp("saved") / "libfm"
    fresh_toy_model("libfm").save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def seal(folder):
    """Gives a changed folder the manifest that whoever changed it would give it."""
    (folder / MANIFEST).unlink(missing_ok=True)
    write_manifest(folder)


# === The manifest ===


def test_a_manifest_names_every_file(saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert manifest["files"].keys() == names - {MANIFEST}
    assert {NETWORK, DESCRIPTION, "words.txt", "terms.txt"} < names


def each_file(folder):
    return [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]


def test_a_changed_file_is_named(saved, tmp_path):
    for number, path in enumerate(each_file(saved)):
        for change in ("flip", "cut", "remove"):
            copy = tmp_path / f"{number}-{change}"
            shutil.copytree(saved, copy)
            content = path.read_bytes()
            if change == "remove":
                (copy / path.name).unlink()
            elif content:
                (copy / path.name).write_bytes(content[:-1] + (b"" if change == "cut" else bytes([content[-1] ^ 1])))
            with pytest.raises(DataFormatError, match=r"(bytes|content|missing).* Copy the folder anew") as caught:
                load_model(copy)
            assert caught.value.path == copy / path.name


@pytest.mark.parametrize("name", ["pieces/tokenizer.json", "pieces/config.json"])
def test_an_added_file_that_would_be_read_is_named(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(DataFormatError, match="was added after the folder was written") as caught:
        load_model(folder)
    assert caught.value.path == folder / name


def test_an_added_file_that_is_not_read_does_no_harm(folder):
    (folder / "README.md").write_text("Trained on a Tuesday.")
    load_model(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", "[" * 5000, '{"format": 2, "files": {}}', '{"format": 1}', '{"format": 1, "files": {"a": 5}}'),
        '{"format": 1, "files": {"../copy/model.json": {"bytes": "5", "blake2b": ""}}}',
    ],
)
def test_a_manifest_that_is_none_is_named(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(DataFormatError, match=r"manifest\.json: is no readable manifest"):
        load_model(folder)


def test_a_manifest_is_never_a_way_out_of_the_folder(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../copy/model.json"] = manifest["files"]["model.json"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataFormatError, match="is missing, and the manifest names it"):
        load_model(folder)


def test_a_folder_of_a_version_before_manifests_is_loaded_with_a_warning(folder, caplog):
    (folder / MANIFEST).unlink()
    with pytest.raises(DataFormatError, match=r"manifest\.json: is missing"):
        load_model(folder)
    edit_description(folder, format=1)
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        model = load_model(folder)
    assert "without a manifest" in caplog.text
    model.save(folder)
    caplog.clear()
    load_model(folder)
    assert not caplog.records


# === What is in the files ===


def edit_description(folder, **changes):
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "os.system"},
        {"model": ["LibFMModel"]},
        {"format": 99},
        {"seed": "soon"},
        {"seed": None},
        {"hparams": []},
        {"hparams": {"train": {"learning_rate": "fast"}}},
        {"hparams": {"train": {"no_such": 1}}},
        {"history": 5},
    ],
)
def test_a_description_that_is_none_is_refused(folder, changes):
    edit_description(folder, **changes)
    seal(folder)
    with pytest.raises(RecommendersMinerError):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b"[" * 5000, b"\xff", b"[]", b"{}"])
def test_a_description_that_is_no_json_is_named(folder, content):
    (folder / DESCRIPTION).write_bytes(content)
    seal(folder)
    with pytest.raises(RecommendersMinerError, match=r"model\.json: damaged or of another version"):
        load_model(folder)


def rewrite_network(folder, change=lambda config: config, more=(), compression=zipfile.ZIP_STORED):
    """Writes the network's archive anew, its config changed, with more members, and seals the folder."""
    path = folder / NETWORK
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[CONFIG] = json.dumps(change(json.loads(members[CONFIG]))).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in [*members.items(), *more]:
            archive.writestr(name, content)
    seal(folder)


def test_a_rewritten_network_is_read_so_that_what_follows_tests_what_it_says(folder, saved):
    rewrite_network(folder)
    model, expected = load_model(folder), load_model(saved)
    news = fresh_toy_model("libfm").news
    for one in (model, expected):
        one.set_news(news)
    assert model.score(IDS[:2], IDS).tolist() == expected.score(IDS[:2], IDS).tolist()


def code_that_writes(path):
    """A Lambda layer's function as Keras marshals it."""
    function = eval(f"lambda x: open({str(path)!r}, 'w').close() or x")
    code = base64.b64encode(marshal.dumps(function.__code__)).decode()
    return {"class_name": "__lambda__", "config": {"value": [code, None, None]}}


def payloads(sentinel):
    marshalled = code_that_writes(sentinel)
    command = f"touch {sentinel}"
    function = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    popen = {"args": command, "shell": True}
    return {
        "marshalled code": marshalled,
        "a Lambda layer": {"module": "keras.layers", "class_name": "Lambda", "config": {"function": marshalled}},
        "a registered Lambda": {
            "class_name": "Lambda",
            "registered_name": "Lambda",
            "config": {"function": marshalled},
        },
        "a function of os": function,
        "a function of builtins": {**function, "module": "builtins", "config": "eval", "registered_name": "eval"},
        "a class of subprocess": {"module": "subprocess", "class_name": "Popen", "config": popen},
        "a class of a package": {"module": "numpy", "class_name": "memmap", "config": {"filename": str(sentinel)}},
        "a wrapper of a SavedModel": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "x"}},
        "a download": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        "a stranger's class": {"class_name": "Evil", "registered_name": "Stranger>Evil", "config": {}},
        "a stranger's function": {"module": "builtins", "class_name": "function", "config": "Stranger>run"},
    }


@pytest.mark.parametrize("name", payloads(""))
@pytest.mark.parametrize("place", ["the network", "its news encoder", "an argument"])
@pytest.mark.parametrize("unsafe", [False, True])
def test_a_malicious_network_runs_nothing(folder, tmp_path, monkeypatch, name, place, unsafe):
    sentinel = tmp_path / "ran"
    payload = payloads(sentinel)[name]

    class Evil(keras.layers.Layer):
        def __init__(self, **kwargs):
            sentinel.touch()

    known = keras.saving.get_custom_objects()
    monkeypatch.setitem(known, "Stranger>Evil", Evil)
    monkeypatch.setitem(known, "Stranger>run", sentinel.touch)

    def change(config):
        if place == "the network":
            return payload
        if place == "its news encoder":
            config["config"]["news_encoder"] = payload
        else:
            config["config"]["news_encoder"]["config"]["activation"] = [payload]
        return config

    rewrite_network(folder, change)
    with keras.src.saving.serialization_lib.SafeModeScope(not unsafe), pytest.raises(DataFormatError) as caught:
        load_model(folder)
    assert caught.value.path == folder / NETWORK
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "more",
    [
        [("../evil.txt", b"x")],
        [("/tmp/recommenders-miner-evil.txt", b"x")],
        [("assets/evil.txt", b"x")],
        [("model.weights.npz", b"x")],
        [(CONFIG, b"{}")],
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_members_is_refused(folder, more):
    before = {path for path in folder.parent.rglob("*")}
    rewrite_network(folder, more=more)
    with pytest.raises(DataFormatError, match=r"network\.keras: expected config\.json, metadata\.json, model"):
        load_model(folder)
    assert {path for path in folder.parent.rglob("*")} == before


def test_a_compressed_archive_is_refused(folder):
    rewrite_network(folder, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataFormatError, match="is compressed"):
        load_model(folder)


def damaged_weights(folder):
    with zipfile.ZipFile(folder / NETWORK) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / NETWORK, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[: len(content) // 2] if name.endswith(".h5") else content)
    seal(folder)


def no_archive(folder):
    (folder / NETWORK).write_bytes(b"PK")
    seal(folder)


def another_model(folder):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.save(folder / NETWORK)
    seal(folder)


def nested_config(folder):
    def change(config):
        for _ in range(200):
            config = {"class_name": "Dense", "module": "keras.layers", "config": {"activation": config}}
        return config

    rewrite_network(folder, change)


@pytest.mark.parametrize("damage", [damaged_weights, no_archive, another_model, nested_config])
def test_a_network_that_is_none_is_named(folder, damage):
    damage(folder)
    with pytest.raises(DataFormatError) as caught:
        load_model(folder)
    assert caught.value.path == folder / NETWORK


def test_a_malicious_tokenizer_runs_nothing(tmp_path):
    sentinel = tmp_path / "ran"
    for payload in payloads(sentinel).values():
        (tmp_path / "tokenizer.json").write_text(json.dumps(payload))
        with pytest.raises(PresetError, match="asks for"):
            _ = Pieces(tmp_path).tokenizer
    assert not sentinel.exists()


# === Saving ===


@pytest.mark.parametrize("full", ["network", "vocabulary", "manifest"])
def test_a_full_disk_leaves_the_saved_model_whole(folder, monkeypatch, full):
    model = fresh_toy_model("libfm", seed=2)

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls = {
        "network": "recommenders_miner.models.network.NewsRecommender.save",
        "vocabulary": "recommenders_miner.io.vocabularies.Vocabularies.save",
        "manifest": "recommenders_miner.models.saving.write_manifest",
    }
    with monkeypatch.context() as patched:
        patched.setattr(calls[full], no_room)
        with pytest.raises(NotWrittenError, match="No space left on device"):
            model.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    load_model(folder)
