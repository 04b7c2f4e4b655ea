"""The experiments of the MINER paper, each a file here that reads as what it does, and run by one command.

`recommenders-miner reproduce table2 | table3 | figure3 | figure4 | figure5 | figure6 | all --data DIR --out OUT`
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from recommenders_miner.errors import PresetError
from recommenders_miner.experiments import figure3, figure4, figure5, figure6, table2, table3
from recommenders_miner.experiments.study import Experiment, Study
from recommenders_miner.progress import progress_bar

__all__ = ["EXPERIMENTS", "Study", "reproduce"]

LOGGER = logging.getLogger("recommenders_miner")

EXPERIMENTS: dict[str, Experiment] = {
    module.__name__.rpartition(".")[2]: module.EXPERIMENT
    for module in (table2, table3, figure3, figure4, figure5, figure6)
}


def reproduce(study: Study, names: Sequence[str] = tuple(EXPERIMENTS)) -> Path:
    """Run experiments, each page written as soon as its runs are there.

    Runs are kept in `<out>/runs` and shared by the experiments; `<out>/results` has a page, its figures as JSON, PNG
    and SVG for each experiment; `<out>/results.md` all pages in one.

    Args:
        study: data, seeds, scale and the folder to write to.
        names: keys of `EXPERIMENTS`.

    Returns:
        The page of all pages.

    Raises:
        PresetError: a language model cannot be had, and the study does not leave such models out.
    """
    with progress_bar("experiments") as report:
        for place, name in enumerate(names):
            report(place / len(names), name)
            LOGGER.info("%s", name)
            try:
                study.run(name, EXPERIMENTS[name])
            except PresetError as error:
                if not study.skip_unavailable:
                    raise
                LOGGER.warning("%s is left out: %s", name, error)
            summary = study.write_summary(tuple(EXPERIMENTS))
    return summary
