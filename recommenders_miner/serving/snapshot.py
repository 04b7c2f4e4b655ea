"""A pool's articles on disk, in a form that processes map into memory instead of reading it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError
from recommenders_miner.serving.segments import Segment
from recommenders_miner.storage import new_folder

_DESCRIPTION, _TABLE = "snapshot.json", "articles.arrow"
_TEXTS = ("ids", "category", "subcategory", "title", "abstract", "title_entities", "abstract_entities")


def write_snapshot(folder: Path, model: str, segments: Sequence[Segment]) -> None:
    """Write at most one segment to a folder, in the place of one that stands there."""
    with new_folder(folder, overwrite=True) as new:
        description = {"model": model, "arrays": []}
        for segment in segments:
            table = pa.table({name: getattr(segment.table, name) for name in _TEXTS})
            for name in [] if segment.table.extra is None else segment.table.extra.column_names:
                table = table.append_column(f"extra.{name}", segment.table.extra[name])
            with pa.OSFile(str(new / _TABLE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            for name, array in {**segment.news, "rank.": segment.rank}.items():
                np.save(new / f"{name}.npy", array)
            description["arrays"] = list(segment.news)
        (new / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def read_snapshot(folder: Path, model: str) -> list[Segment]:
    """Map what `write_snapshot` wrote into memory.

    Raises:
        DataFormatError: it is missing, damaged, or of another model's articles.
    """
    try:
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if description["model"] != model:
            raise ValueError(f"it is of {description['model']}, not of {model}")
        if not (folder / _TABLE).is_file():
            return []
        table = pa.ipc.open_file(pa.memory_map(str(folder / _TABLE))).read_all().combine_chunks()
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*description["arrays"], "rank.")}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataFormatError(folder, f"no snapshot that can be used ({error}).", remedy="Write it anew.") from error
    extra = table.select([name for name in table.column_names if name.startswith("extra.")])
    extra = extra.rename_columns([name.removeprefix("extra.") for name in extra.column_names])
    texts = (table[name].combine_chunks() for name in _TEXTS)
    texts = (column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in texts)
    news = NewsTable(*texts, folder, np.arange(len(table)), extra if extra.num_columns else None)
    rank = arrays.pop("rank.")
    return [Segment(news, arrays, rank, np.ones(len(rank), bool))]
