"""The scenarios with the data and the models that they need: the tiny preset of the planted benchmark."""

from __future__ import annotations

import random
from functools import cached_property
from pathlib import Path

from tests.kill.scenarios import Report, kill_cache_building, kill_fetching, kill_saving, kill_training


class Trial:
    """Runs scenarios in a folder.

    Args:
        workplace: an empty folder.
        rng: draws the moments.
    """

    def __init__(self, workplace: Path, rng: random.Random) -> None:
        self.workplace, self.rng = workplace, rng

    def run(self, name: str, kills: int) -> Report:
        """Runs `fetch`, `cache`, `saving` or `training`."""
        folder = self.workplace / name
        folder.mkdir()
        match name:
            case "fetch":
                return kill_fetching(kills, folder, self.rng)
            case "cache":
                return kill_cache_building(kills, self.data, folder, self.rng)
            case "saving":
                return kill_saving(kills, self.models, folder, self.rng)
            case "training":
                return kill_training(kills, self.data, folder, self.rng)
        raise ValueError(f"there is no scenario {name!r}.")

    @cached_property
    def data(self) -> Path:
        """The planted benchmark."""
        from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark

        write_synthetic_benchmark(self.workplace / "data", "tiny", 42)
        return self.workplace / "data"

    @cached_property
    def models(self) -> tuple[Path, Path]:
        """Two saved models of one shape and other weights."""
        from recommenders_miner.hparams import prepare_hparams
        from recommenders_miner.models import MODELS

        split = self.data / "train"
        hparams = prepare_hparams("nrms", word_emb_dim=8, head_num=2, head_dim=4, attention_hidden_dim=8)
        folders = (self.workplace / "first", self.workplace / "second")
        for seed, folder in enumerate(folders):
            model = MODELS["nrms"](hparams, seed=seed)
            model.train_iterator.load(split / "news.tsv", split / "behaviors.tsv")
            model.build(model.train_iterator.vocabularies).save(folder)
        return folders
