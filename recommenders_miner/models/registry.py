"""The models by name. A model registers itself; whoever wants them all reads `hparams.MODELS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recommenders_miner.hparams import MODELS


def register(name: str, *, paper: str, year: int) -> Callable[[type[Any]], type[Any]]:
    """Register the decorated model under the name that the hyperparameter `model_type` takes.

    Args:
        name: the name; a YAML file of this name in `hparams/` has the settings of its paper.
        paper: authors, title and venue.
        year: of publication.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        cls.name, cls.paper, cls.year = name, paper, year
        MODELS[name] = cls
        return cls

    return decorate
