"""Folders of saved models: changed ones are found out, and malicious ones run nothing."""

from __future__ import annotations

import base64
import errno
import json
import logging
import marshal
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import pytest

from recommenders_miner.data.pieces import Pieces
from recommenders_miner.errors import DataFormatError, NotWrittenError, PresetError, RecommendersMinerError
from recommenders_miner.manifest import MANIFEST, write_manifest
from recommenders_miner.models import MODELS, load_model, saving
from recommenders_miner.models.saving import DESCRIPTION, NETWORK
from tests.models.toy import IDS, MODEL_NAMES, fresh_toy_model, toy_hparams, toy_log, toy_news
from tests.tiny_plm import tiny_preset

CONFIG = "config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model that has every file there is but word pieces; not to be written to."""
    folder = tmp_path_factory.mktemp("saved") / "libfm"
    fresh_toy_model("libfm").save(folder)
    return folder


@pytest.fixture(scope="module")
def saved_with_pieces(tmp_path_factory):
    """A saved model over a language model, whose preset is gone; not to be written to."""
    folder = tmp_path_factory.mktemp("pieces")
    preset, news = tiny_preset(folder / "preset"), toy_news()
    model = MODELS["nrms-plm"](toy_hparams("nrms-plm", plm=preset, news_dim=8, plm_trainable="none"), seed=1)
    model.build(model.train_iterator.build_vocabularies(news, toy_log(news)))
    model.save(folder / "model")
    shutil.rmtree(preset)
    return folder / "model"


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def folder_with_pieces(saved_with_pieces, tmp_path):
    shutil.copytree(saved_with_pieces, tmp_path / "copy")
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


@pytest.mark.parametrize("kind", ["an empty folder", "a link to a folder", "a link to nothing"])
def test_an_added_folder_that_would_be_used_is_named(folder, tmp_path, kind):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tokenizer.json").write_text("{}")
    pieces = folder / "pieces"
    if kind == "an empty folder":
        pieces.mkdir()
    else:
        pieces.symlink_to(tmp_path / ("elsewhere" if kind == "a link to a folder" else "nowhere"))
    with pytest.raises(DataFormatError, match="was added after the folder was written") as caught:
        load_model(folder)
    assert caught.value.path == pieces


def test_files_that_are_links_are_read_if_they_are_what_the_manifest_says(folder, tmp_path):
    """As in the cache of the Hugging Face hub."""
    (folder / NETWORK).rename(tmp_path / "elsewhere")
    (folder / NETWORK).symlink_to(tmp_path / "elsewhere")
    load_model(folder)


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
        {"seed": -1},
        {"seed": 1e300},
        {"hparams": []},
        {"hparams": {"x": {"his_size": 5}}},
        {"hparams": {"data": {"title_size": 10**9}}},
        {"hparams": {"data": {"body_size": 10**9}}},
        {"hparams": {"data": {"entity_size": 10**9}}},
        {"hparams": {"train": {"learning_rate": "fast"}}},
        {"hparams": {"train": {"no_such": 1}}},
        {"history": 5},
        {"history": [5]},
        {"history": {"a": 1.0}},
        {"history": [{"loss": "small"}]},
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


def in_the_meantime(monkeypatch, happens):
    """Lets something happen after the manifest was checked and before the network is read, as often as that is."""
    read_network = saving.read_network
    monkeypatch.setattr(saving, "read_network", lambda path: happens() or read_network(path))


def test_a_folder_that_is_replaced_while_it_is_read_is_read_anew(folder, monkeypatch):
    other = fresh_toy_model("libfm", seed=5, his_size=2)
    times = iter([True, True, False])
    in_the_meantime(monkeypatch, lambda: next(times) and other.save(folder))
    loaded = load_model(folder)
    assert (loaded.seed, loaded.hparams.his_size) == (5, 2)
    loaded.set_news(other.news)
    assert loaded.score(IDS[:4], IDS).tolist() == other.score(IDS[:4], IDS).tolist()
    assert next(times, None) is None


def test_a_folder_of_which_a_part_is_gone_while_it_is_read_is_read_anew(folder, monkeypatch):
    other = fresh_toy_model("libfm", seed=5)
    times = iter([True, False])

    def replace():
        if next(times):
            other.save(folder)
            (folder / NETWORK).unlink()
            other.save(folder)

    in_the_meantime(monkeypatch, replace)
    assert load_model(folder).seed == 5


def test_a_folder_that_is_always_replaced_is_given_up(folder, monkeypatch):
    in_the_meantime(monkeypatch, lambda: os.utime(folder / MANIFEST) or shutil.move(replaced(folder), folder))
    with pytest.raises(RecommendersMinerError, match="was replaced each of the 5 times"):
        load_model(folder)


def replaced(folder):
    """Moves a folder away; returns a copy of it."""
    away = folder.with_name("away")
    shutil.rmtree(away, ignore_errors=True)
    folder.rename(away)
    return shutil.copytree(away, folder.with_name("new"))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_vocabularies_are_compared_with_each_embedding_of_a_network(name):
    model = fresh_toy_model(name)
    looked_up = {
        "deepfm": {"news", "users", "terms"},
        "dkn": {"words", "entities"},
        "hierec": {"words", "categories", "subcategories", "entities"},
        "libfm": {"news", "users", "terms"},
        "lstur": {"words", "categories", "subcategories", "users"},
        "miner": {"words", "categories"},
        "naml": {"words", "categories", "subcategories"},
        "npa": {"words", "users"},
        "nrms": {"words"},
    }[name]
    sizes = dict(saving._embedding_rows(model.network.get_config()))
    assert sizes == {vocabulary: model.vocabularies.sizes()[vocabulary] for vocabulary in looked_up}


def test_a_vocabulary_that_does_not_fit_the_network_is_named(folder):
    for name in ("users", "news"):
        path = folder / f"{name}.txt"
        before = path.read_text()
        path.write_text(before + "one more\n")
        seal(folder)
        with pytest.raises(DataFormatError, match=rf"embedding of \d+ rows for the \d+ ids of the folder's {name}"):
            load_model(folder)
        path.write_text(before)


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
        "a stranger's class as a text": "Stranger>Evil",
        "a stranger's function as a text": "plainrun",
        "a stranger's function under a module of Keras": {
            "module": "keras.layers",
            "class_name": "function",
            "config": "plainrun",
        },
        "a stranger's function as a class": {"module": "keras.layers", "class_name": "plainrun", "config": {}},
        "a stranger's function by its end": {
            "module": "builtins",
            "class_name": "function",
            "config": "run",
            "registered_name": "recommenders_miner>NewsRecommender",
        },
        "a function of KerasHub": {**function, "config": "keras_hub>upload_preset", "registered_name": None},
        "a function of KerasHub as a text": "keras_hub>upload_preset",
        **{
            f"a dotted {name}": {"module": "keras", "class_name": f"layers.{name}", "config": config}
            for name, config in {
                "Lambda": {"function": marshalled},
                "TFSMLayer": {"filepath": str(sentinel)},
                "TorchModuleWrapper": {"module": "AAAA"},
            }.items()
        },
    }


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """What payloads name and someone else registered in the process; returns the file that it writes when it is run."""
    sentinel = tmp_path / "ran"

    class Evil(keras.layers.Layer):
        def __init__(self, *_, **__):
            sentinel.touch()

    for name, thing in strange_objects(Evil, sentinel).items():
        monkeypatch.setitem(keras.saving.get_custom_objects(), name, thing)
    return sentinel


def strange_objects(evil, sentinel):
    def run(*_, **__):
        sentinel.touch()

    return {"Stranger>Evil": evil, "Stranger>run": run, "plainrun": run}


def put(config, place, payload):
    """Puts a payload in a place of LibFM's config."""
    if place == "the network":
        return payload
    if place == "an argument":
        config["config"]["news_encoder"]["config"]["activation"] = [payload]
    else:
        config["config"][place] = payload
    return config


@pytest.mark.parametrize("name", payloads(""))
@pytest.mark.parametrize(
    ("place", "unsafe"),
    [("the network", True), ("news_encoder", True), ("click_predictor", False), ("an argument", True)],
)
def test_a_malicious_network_runs_nothing(folder, strangers, name, place, unsafe):
    rewrite_network(folder, lambda config: put(config, place, payloads(strangers)[name]))
    with keras.src.saving.serialization_lib.SafeModeScope(not unsafe), pytest.raises(DataFormatError) as caught:
        load_model(folder)
    assert caught.value.path == folder / NETWORK
    assert not strangers.exists()


@pytest.fixture(scope="module")
def saved_nrms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "nrms"
    fresh_toy_model("nrms").save(folder)
    return folder


def with_initializer(config, initializer):
    """Puts something in the place of the initializer of NRMS' word vectors."""
    config["config"]["news_encoder"]["config"]["words"]["config"]["initializer"] = initializer
    return config


@pytest.mark.parametrize("name", payloads(""))
def test_a_malicious_initializer_runs_nothing(saved_nrms, tmp_path, strangers, name):
    folder = shutil.copytree(saved_nrms, tmp_path / "copy")
    rewrite_network(folder, lambda config: with_initializer(config, payloads(strangers)[name]))
    with pytest.raises(DataFormatError, match="asks for"):
        load_model(folder)
    assert not strangers.exists()


@pytest.mark.filterwarnings("ignore:Layer .* looks like it has unbuilt state")
def test_a_network_that_cannot_be_built_does_not_keep_others_from_it(saved_nrms, tmp_path):
    folder = shutil.copytree(saved_nrms, tmp_path / "copy")
    text = {"module": "keras.initializers", "class_name": "Constant", "config": {"value": "a text"}}
    rewrite_network(folder, lambda config: with_initializer(config, text))
    with pytest.raises(DataFormatError, match="not a readable network"):
        load_model(folder)
    fresh_toy_model("nrms")


@pytest.mark.parametrize("name", ["Stranger>Evil", "plainrun"])
def test_a_scope_of_custom_objects_around_the_loading_does_not_reach_into_it(saved_nrms, tmp_path, name):
    folder, sentinel = shutil.copytree(saved_nrms, tmp_path / "copy"), tmp_path / "ran"
    rewrite_network(folder, lambda config: with_initializer(config, name))
    scope = strange_objects(lambda *_, **__: sentinel.touch(), sentinel)
    with keras.saving.custom_object_scope(scope), pytest.raises(DataFormatError):
        load_model(folder)
    with keras.saving.custom_object_scope({"Dense": sentinel.touch, "recommenders_miner>NewsRecommender": None}):
        load_model(saved_nrms)
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


@pytest.mark.parametrize("name", payloads(""))
def test_a_malicious_tokenizer_runs_nothing(tmp_path, strangers, name):
    (tmp_path / "tokenizer.json").write_text(json.dumps(payloads(strangers)[name]))
    with pytest.raises(PresetError, match="asks for"):
        _ = Pieces(tmp_path).tokenizer
    assert not strangers.exists()


@pytest.mark.parametrize("malicious", ["config.json", "tokenizer.json"])
def test_a_malicious_preset_in_keras_form_runs_nothing(tmp_path, strangers, malicious):
    tiny_preset(tmp_path / "preset")
    assert Pieces(tmp_path / "preset").encode(["word1"], 5)
    payload = {"module": "x", "class_name": "Evil", "registered_name": "Stranger>Evil", "config": {}}
    (tmp_path / "preset" / malicious).write_text(json.dumps(payload))
    with pytest.raises(PresetError, match="asks for"):
        _ = Pieces(tmp_path / "preset").tokenizer
    assert not strangers.exists()


def test_a_language_models_config_beside_saved_pieces_changes_nothing(folder_with_pieces, strangers):
    pieces = folder_with_pieces / "pieces"
    backbone = {"module": "x", "class_name": "BertBackbone", "registered_name": "keras_hub>BertBackbone", "config": {}}
    (pieces / "config.json").write_text(json.dumps(backbone))
    seal(folder_with_pieces)
    load_model(folder_with_pieces)
    evil = {"module": "x", "class_name": "Evil", "registered_name": "Stranger>Evil", "config": {}}
    (pieces / "tokenizer.json").write_text(json.dumps(evil))
    seal(folder_with_pieces)
    with pytest.raises(PresetError, match="asks for"):
        load_model(folder_with_pieces)
    assert not strangers.exists()


def test_saved_pieces_are_those_that_were_loaded_whatever_stands_there_later(folder_with_pieces):
    model = load_model(folder_with_pieces)
    shutil.rmtree(folder_with_pieces)
    model.set_news(toy_news())
    assert len(model.score(IDS[:2], IDS)) == len(IDS)


def test_more_pieces_than_the_language_model_has_are_named(folder_with_pieces):
    [vocabulary] = (folder_with_pieces / "pieces" / "assets").rglob("vocabulary.txt")
    vocabulary.write_text(vocabulary.read_text() + "more\n")
    seal(folder_with_pieces)
    with pytest.raises(DataFormatError, match="rows for the 17 ids of the folder's pieces"):
        load_model(folder_with_pieces)


@pytest.mark.slow
def test_a_model_over_a_language_model_loads_in_a_process_that_has_not_met_keras_hub(saved_with_pieces):
    code = "import sys; from recommenders_miner import load_model; load_model(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(saved_with_pieces)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# === Saving ===


@pytest.mark.parametrize("full", ["network", "vocabulary", "manifest"])
def test_a_full_disk_leaves_the_saved_model_whole(folder, monkeypatch, full):
    model = fresh_toy_model("libfm", seed=2)

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls = {
        "network": "recommenders_miner.models.network.NewsRecommender.save",
        "vocabulary": "recommenders_miner.data.vocabularies.Vocabularies.save",
        "manifest": "recommenders_miner.models.saving.write_manifest",
    }
    with monkeypatch.context() as patched:
        patched.setattr(calls[full], no_room)
        with pytest.raises(NotWrittenError, match="No space left on device"):
            model.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    load_model(folder)
