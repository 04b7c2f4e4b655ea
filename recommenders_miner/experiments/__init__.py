"""The experiments of the MINER paper, each a file here that reads as what it does, and run by one command.

`recommenders-miner reproduce table2 | table3 | figure3 | figure4 | figure5 | figure6 | all --data DIR --out OUT`
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from recommenders_miner.errors import PresetError
from recommenders_miner.experiments.figure3 import figure3
from recommenders_miner.experiments.figure4 import figure4
from recommenders_miner.experiments.figure5 import figure5
from recommenders_miner.experiments.figure6 import figure6
from recommenders_miner.experiments.study import Experiment, Study
from recommenders_miner.experiments.table2 import table2
from recommenders_miner.experiments.table3 import table3
from recommenders_miner.progress import progress_bar
from recommenders_miner.storage import atomic_write

__all__ = ["EXPERIMENTS", "Study", "reproduce"]

LOGGER = logging.getLogger("recommenders_miner")

EXPERIMENTS: dict[str, Experiment] = {
    "table2": table2,
    "table3": table3,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
}


def reproduce(study: Study, names: Sequence[str] = tuple(EXPERIMENTS)) -> Path:
    """Runs experiments, each page written as soon as its runs are there.

    Runs are kept in `<out>/runs` and shared by the experiments; `<out>/results` has a page, its figures as JSON, PNG
    and SVG for each experiment; `<out>/results.md` all pages in one.

    Args:
        study: data, seeds, scale and the folder to write to.
        names: keys of `EXPERIMENTS`.

    Returns:
        The page of all pages.

    Raises:
        PresetError: a language model cannot be had, and the study does not leave such systems out.
    """
    with progress_bar("experiments") as report:
        for place, name in enumerate(names):
            report(place / len(names), name)
            LOGGER.info("%s", name)
            try:
                study.write(name, EXPERIMENTS[name](study))
            except PresetError as error:
                if not study.skip_unavailable:
                    raise
                LOGGER.warning("%s is left out: %s", name, error)
            summary = write_summary(study)
    return summary


def write_summary(study: Study) -> Path:
    """Joins the pages that there are, in the paper's order."""
    pages = [study.page_text(name) for name in EXPERIMENTS if study.page_path(name).exists()]
    path = study.out / "results.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join([study.preamble, *pages]), encoding="utf-8")
    return path
