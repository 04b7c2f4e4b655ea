"""The folder that a conversion writes, whole or not at all, with a file that says how it came about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders_miner.data.past_clicks import CONVERSION_FILE
from recommenders_miner.data.tsv import LineFaults
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.storage import new_folder


@dataclass
class Conversion:
    """What a conversion made.

    Attributes:
        folder: where it is written; a temporary folder while it is.
        counts: what each split holds and how often the converter had to decide something, by split and kind.
        left_out: how often something was left out, by file and reason.
    """

    folder: Path
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, split: str, **counts: int) -> None:
        """Adds counts to those of a split; underscores in their names stand for spaces."""
        noted = self.counts.setdefault(split, {})
        for name, count in counts.items():
            noted[name.replace("_", " ")] = noted.get(name.replace("_", " "), 0) + int(count)

    def finish(self, faults: LineFaults) -> None:
        """Notes, and logs, what was left out of a file that is read to its end."""
        report = faults.log_summary()
        if report is not None and report.counts:
            self.left_out[str(faults.path)] = dict(report.counts)


@contextmanager
def conversion_to(out: str | Path, settings: Mapping[str, Any]) -> Iterator[Conversion]:
    """Lends an empty folder that becomes `out` when the block ends without an error.

    Args:
        out: the folder to write. One that holds an earlier conversion is replaced.
        settings: what the conversion depends on; goes into `conversion.json` with the counts.

    Yields:
        The conversion, to write into its `folder` and to note counts in.

    Raises:
        RecommendersMinerError: `out` holds something else than an earlier conversion.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise RecommendersMinerError(f"{out}: is a file; name a folder to write to.")
    with new_folder(out) as folder:
        conversion = Conversion(folder)
        yield conversion
        description = {**settings, "counts": conversion.counts, "left out": conversion.left_out}
        text = json.dumps(description, indent=2, default=str, ensure_ascii=False)
        (folder / CONVERSION_FILE).write_text(text + "\n", encoding="utf-8")
    conversion.folder = out


class Interned:
    """Numbers texts in the order in which they first come."""

    def __init__(self) -> None:
        self._number_of: dict[str, int] = {}

    def __len__(self) -> int:
        """How many distinct texts there were."""
        return len(self._number_of)

    def numbers(self, texts: pa.StringArray) -> np.ndarray:
        """Returns the number of each text, (texts,) int32."""
        encoded = texts.dictionary_encode()
        known = self._number_of
        numbers = np.array([known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()], np.int32)
        return numbers[encoded.indices.to_numpy(zero_copy_only=False)] if len(texts) else numbers

    @property
    def texts(self) -> pa.StringArray:
        """The texts by their numbers."""
        return pa.array(list(self._number_of), pa.string())
