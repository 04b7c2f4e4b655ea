"""The models by name. A model registers itself; whoever wants them all reads `MODELS`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recommenders_miner import hparams


_CLASSES: dict[str, type[Any]] = {}


def register(name: str, *, paper: str, year: int) -> Callable[[type[Any]], type[Any]]:
    """Register the decorated model under the name that the hyperparameter `model_type` takes.

    Args:
        name: the name; a YAML file of this name in `hparams/` has the settings of its paper.
        paper: authors, title and venue.
        year: of publication.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        cls.name, cls.paper, cls.year = name, paper, year
        _CLASSES[name] = cls
        hparams.MODELS[name] = hparams.Declared(cls.hparams_class, cls.reads, cls.news_encoder)
        return cls

    return decorate


class _Models(Mapping[str, type[Any]]):
    """The registered models; the files beside this one are imported when they are first asked for."""

    def __getitem__(self, name: str) -> type[Any]:
        import_all()
        return _CLASSES[name]

    def __iter__(self) -> Iterator[str]:
        import_all()
        return iter(_CLASSES)

    def __len__(self) -> int:
        import_all()
        return len(_CLASSES)


MODELS: Mapping[str, type[Any]] = _Models()


def import_all() -> None:
    """Import every file of this folder, whose models then register."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
