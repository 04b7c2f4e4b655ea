"""The command that lets models serve simulated users over weeks: simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import Overrides, Seed, app, console, finite, hparams_file, new_folder, parse_overrides
from recommenders_miner.progress import progress_bar

UNTRAINED = ("random", "popularity", "oracle")


def _known_models(names: str) -> str:
    """Refuse a list with a name that is neither a hyperparameter file's nor one of `UNTRAINED`: `HParamsError`."""
    for name in names.split(","):
        if name.strip() not in UNTRAINED:
            hparams_file(name.strip())
    return names


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the values, the table and the plot.", callback=new_folder)],
    users: Annotated[int, typer.Option(help="Users, each of whom visits once a day.", min=2)] = 1000,
    days: Annotated[int, typer.Option(help="Days that are simulated, after two weeks of warm-up.", min=1)] = 28,
    models: Annotated[
        str,
        typer.Option(
            help="Hyperparameter files, random, popularity, or oracle, the ceiling; separated by commas.",
            callback=_known_models,
        ),
    ] = "nrms,popularity,random",
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="A policy's YAML file, under which trained models are shown too; may be repeated."),
    ] = None,
    drift: Annotated[
        float, typer.Option(help="Share of a user's interests that a click replaces.", min=0, max=1, callback=finite)
    ] = 0.02,
    seeds: Annotated[int, typer.Option(help="Simulate so often, for standard errors.", min=1)] = 3,
    seed: Seed = 42,
    option: Overrides = None,
) -> None:
    """Let models serve simulated users, whose interests move with their clicks, and see what becomes of both."""
    overrides = parse_overrides(option)
    from recommenders_miner.reranking import Policy

    policies = [Policy.read(path) for path in policy or ()]
    import_backend_quietly()
    from recommenders_miner.datasets.synthetic.weeks import SimulationConfig
    from recommenders_miner.experiments.simulation import simulate

    config = SimulationConfig(num_users=users, num_days=days, drift=drift)
    names = list(dict.fromkeys(name.strip() for name in models.split(",")))
    with progress_bar("simulating") as report:
        found = simulate(config, names, policies, range(seed, seed + seeds), overrides, report)
    found.write(out)
    console.print(f"Look at {out / 'simulation.md'} and {out / 'simulation.png'}.", soft_wrap=True)
