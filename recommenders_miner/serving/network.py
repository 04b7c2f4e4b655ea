"""An exported model's parts, run by onnxruntime, and what turns articles into what they read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from recommenders_miner.data.counts import Past
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.lengths import LengthGroups
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import DataFormatError
from recommenders_miner.serving.files import COUNTS, FORMAT, MANIFEST, VOCABULARIES
from recommenders_miner.serving.segments import Arrays

_ENCODED_AT_ONCE = 64


class ExportedNetwork:
    """The parts of an export: `encode` makes of articles what the others read; see `parts.network_parts`.

    Attributes:
        manifest: what the export says of itself.
        vocabularies: what names its ids.
        counts: what happened before the end of the training, for models that read it.

    Args:
        folder: the folder that `export_model` wrote.
        threads: processor threads that one call may use.

    Raises:
        DataFormatError: the folder holds no export in ONNX, or a damaged one.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        try:
            self.manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if self.manifest["format"] != FORMAT:
                raise ValueError(f"its format is {self.manifest['format']!r}")
            self.hparams = SimpleNamespace(**self.manifest["hparams"])
            self.vocabularies = Vocabularies.load(folder / VOCABULARIES)
            self.counts = _read_counts(folder / COUNTS)
            self._parts = {name: _Part(folder / f"{name}.onnx", threads) for name in self.manifest["parts"]}
        except _DAMAGED as error:
            raise DataFormatError(
                folder, f"not a readable ONNX export ({error}).", remedy="Write one: recommenders-miner export."
            ) from error

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def run(self, part: str, arrays: Arrays) -> Arrays:
        """Run a part with its arrays by name, others passed over; returns its arrays by name."""
        return self._parts[part](arrays)

    def encode(self, table: NewsTable) -> Arrays:
        """Return what the other parts read of a table's articles, arrays of N rows by name."""
        features = NewsFeatures(table, self.vocabularies, self.hparams)
        sources = self.manifest["features"]
        made = {name: features[name] for name, source in sources.items() if source == "table"}
        of_plm = {name: name.replace("plm_vector", "pieces").replace("plm_states", "pieces") for name in sources}
        of_plm = {name: pieces for name, pieces in of_plm.items() if sources[name] == "plm"}
        made |= {pieces: features[pieces] for pieces in of_plm.values()}
        lengths, found = LengthGroups.plan(made, groups=4), {}
        group_of = lengths.group_of(np.arange(1, len(table)))
        for group in range(len(lengths.edges)):
            own = np.flatnonzero(group_of == group)
            for first in range(0, len(own), _ENCODED_AT_ONCE):
                rows = own[first : first + _ENCODED_AT_ONCE]
                batch = lengths.gather(made, rows + 1, group)
                batch |= {name: self.run("plm", {"pieces": batch[pieces]})["output"] for name, pieces in of_plm.items()}
                inputs = {f"features.{name}": values for name, values in batch.items()}
                for name, values in self.run("news", inputs).items():
                    if name not in found:
                        longest = max((made[text].shape[1] for text in lengths.cuts), default=0)
                        found[name] = np.zeros((len(group_of), *self._whole_row(name, values, longest)), values.dtype)
                    found[name][(rows, *(slice(size) for size in values.shape[1:]))] = values
        return self._related(found)

    def _whole_row(self, name: str, values: np.ndarray, longest: int) -> list[int]:
        """Return the shape that an array's rows have whatever the batch: as long as the `longest` text may be."""
        parts = self.manifest["parts"]
        inputs = {**parts["user"]["inputs"], **parts["score"]["inputs"]}
        described = inputs.get(f"history.{name}") or inputs.get(f"candidates.{name}") or {"shape": values.shape}
        axes = described["shape"][-(values.ndim - 1) :] if values.ndim > 1 else []
        return [longest if isinstance(axis, str) else axis for axis in axes]

    def _related(self, news: Arrays) -> Arrays:
        """Let articles learn from related ones, which are rows of the same table, 0 for none."""
        rows, message, hops = (self.manifest["related"][key] for key in ("rows", "message", "hops"))
        for hop in range(hops):
            messages = np.concatenate([np.zeros_like(news[message][:1]), news[message]])[news[rows]]
            inputs = {f"news.{name}": values for name, values in news.items()}
            news = self.run(f"relate_{hop}", {**inputs, "messages": messages})
        return news


def _read_counts(path: Path) -> Past | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as found:
        return Past.of_arrays(found)


class _Part:
    """One file; what only new articles, or reasons, need is loaded when it is first needed."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path, self._options = path, onnxruntime.SessionOptions()
        self._options.intra_op_num_threads, self._options.log_severity_level = threads, 3
        is_rare = path.stem in ("plm", "news", "explain") or path.stem.startswith("relate")
        self._options.enable_cpu_mem_arena = not is_rare  # which keeps what the largest batch took
        if not path.is_file():
            raise FileNotFoundError(f"{path.name} is missing")
        if not is_rare:
            self._opened  # noqa: B018

    @cached_property
    def _opened(self) -> tuple[onnxruntime.InferenceSession, list[str], list[str]]:
        session = onnxruntime.InferenceSession(str(self._path), self._options, ["CPUExecutionProvider"])
        inputs, outputs = ([value.name for value in of] for of in (session.get_inputs(), session.get_outputs()))
        return session, inputs, outputs

    def __call__(self, arrays: Mapping[str, Any]) -> Arrays:
        session, inputs, outputs = self._opened
        found = session.run(None, {name: arrays[name] for name in inputs})
        return dict(zip(outputs, found, strict=True))


_of_onnx = onnxruntime.capi.onnxruntime_pybind11_state
_DAMAGED = (OSError, ValueError, KeyError, TypeError, _of_onnx.Fail, _of_onnx.NoSuchFile, _of_onnx.InvalidProtobuf)
