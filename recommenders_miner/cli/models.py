"""The command that lists the models: models."""

from __future__ import annotations

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import app, console


@app.command()
def models() -> None:
    """List the models: their papers, what they read, and their hyperparameter files."""
    import_backend_quietly()
    from recommenders_miner.hparams import hparams_folders, prepare_hparams
    from recommenders_miner.models import MODELS
    from recommenders_miner.tables import terminal_table

    files: dict[str, list[str]] = {name: [] for name in MODELS}
    for path in sorted({path.name: path for folder in hparams_folders() for path in folder.glob("*.yaml")}.values()):
        files[prepare_hparams(path).model_type].append(path.stem)
    table = terminal_table()
    for header in ("model", "paper", "year", "reads", "hyperparameter files"):
        table.add_column(header, no_wrap=header in ("model", "year"))
    for name, model in MODELS.items():
        reads = model.reads(prepare_hparams(name)) if hasattr(model, "reads") else ()
        paper, year = getattr(model, "paper", "-"), getattr(model, "year", "-")
        table.add_row(name, paper, str(year), ", ".join(reads) or "-", ", ".join(files[name]))
    console.print(table)
