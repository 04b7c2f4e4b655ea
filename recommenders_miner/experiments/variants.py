"""The models that experiments train: hyperparameter files with changes, and what the paper reports of each."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from recommenders_miner import hparams as hparams_module
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, prepare_hparams

PUBLISHED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
"""What the paper reports, by table or figure."""

TABLE_2: tuple[str, ...] = tuple(PUBLISHED["table2"]["small"])
"""The hyperparameter files of the models in Table 2 of the MINER paper, in its order."""


@dataclass(frozen=True)
class Variant:
    """A model as an experiment wants it.

    Attributes:
        name: of its runs, and in tables.
        hparams_file: the hyperparameter file that it starts from; that of its name where left out.
        changes: hyperparameters that are other than there.
    """

    name: str
    hparams_file: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def hparams(self, scale: str, overrides: Mapping[str, Any]) -> HParams:
        """Prepare the hyperparameters, with those overrides that the model has; they win over all others."""
        file = self.hparams_file or self.name
        known = hparams_keys(file)
        kept = {key: value for key, value in overrides.items() if key in known}
        return prepare_hparams(file, **{"scale": scale, **self.changes, **kept})


def require_known(overrides: Iterable[str], files: Sequence[str]) -> None:
    """Refuse overrides that none of some hyperparameter files has.

    Raises:
        HParamsError: there is such an override; the message names the nearest key.
    """
    known = {"scale"}.union(*map(hparams_keys, files))
    for key in overrides:
        if key not in known:
            [nearest] = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise HParamsError(f"an override: unknown hyperparameter {key!r}. Did you mean {nearest!r}?")


def hparams_keys(name: str) -> set[str]:
    """Return the overrides that the model of a hyperparameter file takes."""
    if hasattr(hparams_module, "hparams_keys"):
        return {"scale", *hparams_module.hparams_keys(name)}
    return {"scale", *hparams_module._WITHOUT_USE, *(spec.name for spec in dataclasses.fields(HParams))}
