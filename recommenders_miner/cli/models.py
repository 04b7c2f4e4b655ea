"""The command that lists the models: models."""

from __future__ import annotations

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import app, console


@app.command()
def models() -> None:
    """List the models: their papers, what they read, and their hyperparameter files."""
    import_backend_quietly()
    from recommenders_miner.hparams import hparams_files, prepare_hparams
    from recommenders_miner.models import MODELS
    from recommenders_miner.tables import terminal_table

    settings = {name: prepare_hparams(name) for name in hparams_files()}
    table = terminal_table()
    for header in ("model", "paper", "year", "reads", "hyperparameter files"):
        table.add_column(header, no_wrap=header in ("model", "year"))
    for name, model in MODELS.items():
        reads = [*settings[name].features, *(["user id"] if model.user_aware else [])]
        files = [file for file, hparams in settings.items() if hparams.model_type == name]
        table.add_row(name, model.paper, str(model.year), ", ".join(reads), ", ".join(files))
    console.print(table)
