"""The command that answers over HTTP: serve."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import app, console, existing, model_folder, new_folder
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.serving.files import MANIFEST
from recommenders_miner.serving.settings import TOKEN_VARIABLE, Settings
from recommenders_miner.storage import MODEL_FILE

NO_POLICY = "-"
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "onnxruntime")
_EXPORT = """
import sys
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.serving.export import export_model
try:
    export_model(sys.argv[1], sys.argv[2])
except RecommendersMinerError as error:
    sys.exit(str(error))
"""


def _all_existing(paths: list[Path]) -> list[Path]:
    for path in paths:
        existing(path)
    return paths


def _a_store(url: str) -> str:
    if url.partition("://")[0] not in ("sqlite", "redis", "rediss"):
        raise typer.BadParameter(f"{url}: expected sqlite:///PATH or redis://HOST:PORT/DB.")
    return url


def _shares(text: str | None) -> str | None:
    """Refuse shares that are no numbers above 0 whose sum is 1."""
    try:
        shares = [float(share) for share in text.split(",")] if text is not None else [1.0]
    except ValueError:
        shares = []
    if not shares or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise typer.BadParameter(f"{text}: expected numbers above 0, separated by commas, whose sum is 1.")
    return text


def _policies(pairs: list[str] | None) -> list[str] | None:
    """Refuse what is not NAME=FILE of a policy that can be read, and names that are there twice."""
    from recommenders_miner.reranking import Policy

    names = [pair.partition("=")[0] for pair in pairs or ()]
    for pair in pairs or ():
        name, _, file = pair.partition("=")
        if not name or not file or name == NO_POLICY or "," in name:
            raise typer.BadParameter(f"{pair}: expected NAME=FILE, like front=policy.yaml.")
        if names.count(name) > 1:
            raise typer.BadParameter(f"{name} is there twice.")
        Policy.read(file)
    return pairs


@app.command()
def serve(
    exports: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of exported models, or of runs, which are exported into RUN/export first. Of several, each "
            "answers a share of the users.",
            metavar="EXPORT|RUN",
            callback=_all_existing,
        ),
    ],
    news: Annotated[Path, typer.Option(help="news.tsv with the articles to begin with.", callback=existing)],
    store: Annotated[
        str,
        typer.Option(
            help="What keeps clicks and changes of articles: sqlite:///PATH, where ?synchronous=full outlives a power "
            "cut, too, or redis://HOST:PORT/DB for several machines.",
            callback=_a_store,
        ),
    ] = "sqlite:///recommenders-miner.sqlite",
    log: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the log of answers and events, of which convert served makes training data.",
            callback=new_folder,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen at; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    workers: Annotated[int, typer.Option(help="Processes: one a core.", min=1, max=256)] = 1,
    shares: Annotated[
        str | None,
        typer.Option(
            help="The models' shares of users, as 0.9,0.1; by default equal.", callback=_shares, metavar="SHARE,…"
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="An editor's policy by the name that requests call it by, docs/policies.md; may be repeated.",
            callback=_policies,
            metavar="NAME=FILE",
        ),
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help=f"The policy of each model's share, as front,{NO_POLICY}; {NO_POLICY} is none. A model may be given "
            "twice, with and without one.",
            show_default="none but by request",
            metavar="NAME,…",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that whoever writes, or reads a person's data, has to send; by default it is "
            f"{TOKEN_VARIABLE} in the environment.",
            callback=existing,
        ),
    ] = None,
    explore: Annotated[
        float,
        typer.Option(
            help="Share of places for fresh articles with few showings, for users without clicks.",
            min=0,
            max=1,
        ),
    ] = 0.0,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            help="Folder for encoded articles, which processes share in memory and a restart finds ready.",
            callback=new_folder,
        ),
    ] = None,
) -> None:
    """Answer over HTTP: recommendations, events, articles; a page to look with is at /, and /docs describes it all.

    New models are taken from their folders without a restart.
    """
    parts = [1 / len(exports)] * len(exports) if shares is None else [float(share) for share in shares.split(",")]
    if len(parts) != len(exports):
        raise typer.BadParameter(f"{shares}: {len(parts)} for {len(exports)} models.", param_hint="--shares")
    policies = {name: Path(file) for name, _, file in (pair.partition("=") for pair in policy or ())}
    arm_policies = arms.split(",") if arms else []
    for name in arm_policies:
        if name not in (NO_POLICY, *policies):
            raise typer.BadParameter(f"{arms}: there is no --policy {name}=FILE.", param_hint="--arms")
    if arm_policies and len(arm_policies) != len(exports):
        raise typer.BadParameter(f"{arms}: {len(arm_policies)} for {len(exports)} models.", param_hint="--arms")
    if workers > 1 and store.partition("?")[0] == "sqlite:///:memory:":
        raise typer.BadParameter(f"{store}: every process would have its own.", param_hint="--store")
    settings = Settings(
        exports=tuple(map(_export_folder, exports)),
        news=news,
        store=store,
        shares=tuple(parts),
        policies=policies,
        arm_policies=tuple(None if name == NO_POLICY else name for name in arm_policies),
        log=log,
        snapshot=snapshot,
        explore=explore,
        host=host,
        port=port,
        workers=workers,
        token=_token(token_file),
    )
    settings.require_token()
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise RecommendersMinerError(
            f"{', '.join(missing)} must be installed to serve: pip install 'recommenders-miner[serve]'."
        )
    for folder, export in zip(exports, settings.exports, strict=True):
        if not (export / MANIFEST).is_file():
            _export(folder, export)
    sys.stdout.flush()
    # A new program, for what this one has imported and set of its memory is for training.
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a process each: threads get in the way
    environment = one_core | os.environ | settings.to_environment()
    os.execve(sys.executable, [sys.executable, "-m", "recommenders_miner.serving.server"], environment)


def _token(file: Path | None) -> str | None:
    """Read the token, from a file or else the environment; None where there is none."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or any(character.isspace() for character in token):
        raise RecommendersMinerError(f"{file}: expected a token, one line of UTF-8 without spaces.")
    return token


def _export_folder(folder: Path) -> Path:
    """Return the folder of an export: that which is given, or for a run `export` in it."""
    if (folder / MANIFEST).is_file():
        return folder
    if not (model_folder(folder) / MODEL_FILE).is_file():
        raise RecommendersMinerError(f"{folder}: holds neither an export ({MANIFEST}) nor a run ({MODEL_FILE}).")
    return folder / "export"


def _export(run: Path, export: Path) -> None:
    """Export a run, in a process of its own: TensorFlow is not to be in the server."""
    console.print(f"Exporting {run} to {export} …", soft_wrap=True)
    command = [sys.executable, "-c", _EXPORT, str(model_folder(run)), str(export)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RecommendersMinerError(f"{run}: could not be exported. {said[-1]}")
