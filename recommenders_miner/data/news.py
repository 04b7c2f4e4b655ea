"""MIND's `news.tsv` as columns in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.tsv import LineFaults, OnError, SkipReport, describe_columns, read_tsv
from recommenders_miner.errors import DataFormatError, UnknownNewsError

if TYPE_CHECKING:
    import pandas as pd

FILE_COLUMNS = (
    "news id",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title entities",
    "abstract entities",
)
_KEPT_COLUMNS = tuple(column for column in FILE_COLUMNS if column != "url")
_IN_MEMORY = Path("<columns>")
_SHOWN_IDS = 5


@dataclass(frozen=True, eq=False, repr=False)
class NewsTable:
    """The news that a click log refers to, as columns of N + 1 strings.

    Row 0 is the padding news, whose every column is empty; rows 1 … N are the news in file order. The other
    parts of the package name a news by its row.

    Attributes:
        ids: news ids, as in `N55528`.
        category: category names, as in `sports`.
        subcategory: subcategory names, as in `football_nfl`.
        title: titles.
        abstract: abstracts; may be empty.
        title_entities: the Wikidata entities of each title, as JSON; `[]` or empty where there are none.
        abstract_entities: the same for the abstract.
        skipped: what `read(…, on_error="skip")` left out; None where nothing may be left out.
    """

    ids: pa.StringArray
    category: pa.StringArray
    subcategory: pa.StringArray
    title: pa.StringArray
    abstract: pa.StringArray
    title_entities: pa.StringArray
    abstract_entities: pa.StringArray
    skipped: SkipReport | None = None

    @classmethod
    def read(cls, path: str | Path, on_error: OnError = "raise", separator: str = "\t") -> NewsTable:
        r"""Reads a file in the format of MIND's `news.tsv`.

        The file has eight columns and no header: news id, category, subcategory, title, abstract, url, title
        entities, abstract entities. The url is not kept. A news that is there twice with the same content
        (the url apart) counts once, so that the news files of two splits can be joined by `cat`.

        Args:
            path: the file.
            on_error: "raise" stops at the first faulty line; "skip" leaves faulty lines out, counts them in
                `skipped` and logs a warning.
            separator: what stands between columns.

        Raises:
            DataFormatError: the file is missing, a folder or empty; or a line has not eight columns, is not
                UTF-8, has no news id, or repeats a news id with another content.
        """
        path = Path(path)
        faults = LineFaults(path, on_error)
        blocks = (
            (block.drop_columns("url"), lines) for block, lines in read_tsv(path, FILE_COLUMNS, faults, separator)
        )
        rows = _collect_news(blocks, faults)
        skipped = faults.log_summary()
        if rows.num_rows == 0:
            expected = describe_columns(FILE_COLUMNS, separator)
            raise DataFormatError(path, f"no line could be used; expected {expected}.")
        return cls._with_padding(rows, skipped)

    @classmethod
    def from_columns(
        cls,
        ids: Sequence[str],
        titles: Sequence[str],
        category: Sequence[str] | None = None,
        subcategory: Sequence[str] | None = None,
        abstract: Sequence[str] | None = None,
        title_entities: Sequence[str] | None = None,
        abstract_entities: Sequence[str] | None = None,
    ) -> NewsTable:
        """Makes a table from columns in memory, one entry per news, the padding news not among them.

        Args:
            ids: news ids.
            titles: titles.
            category: category names. This and the other optional columns are empty where left out; so is an
                entry that is None.
            subcategory: subcategory names.
            abstract: abstracts.
            title_entities: JSON lists of entities, in MIND's form.
            abstract_entities: the same for the abstracts.

        Raises:
            DataFormatError: the columns differ in length, an id is empty, or an id is repeated with another
                content. The error's `line` counts entries from 1.
        """
        columns = (ids, category, subcategory, titles, abstract, title_entities, abstract_entities)
        for name, values in zip(_KEPT_COLUMNS, columns, strict=True):
            if values is not None and len(values) != len(ids):
                raise DataFormatError(_IN_MEMORY, f"{len(ids)} news ids, but {len(values)} entries of {name}.")
        block = pa.table(
            [_string_array(values, len(ids)) for values in columns],
            names=list(_KEPT_COLUMNS),
        )
        faults = LineFaults(_IN_MEMORY, "raise")
        return cls._with_padding(_collect_news([(block, np.arange(1, len(ids) + 1))], faults), None)

    @classmethod
    def _with_padding(cls, rows: pa.Table, skipped: SkipReport | None) -> NewsTable:
        padding = pa.array([""])
        columns = [pa.concat_arrays([padding, *column.chunks]) for column in rows.columns]
        return cls(*columns, skipped=skipped)

    def __len__(self) -> int:
        """The number of rows, N + 1: the news and the padding row."""
        return len(self.ids)

    def __repr__(self) -> str:
        return f"NewsTable({len(self) - 1:,} news)"

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """The row of each news id; the padding news is not among them."""
        return {news_id: row for row, news_id in enumerate(self.ids.to_pylist()) if row > 0}

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The rows of some news ids, (len(ids),) int32.

        Raises:
            UnknownNewsError: some ids are not in the table; the message names them.
        """
        rows = [self.row_of.get(news_id, 0) for news_id in ids]
        if 0 in rows:
            unknown = [news_id for news_id, row in zip(ids, rows, strict=True) if row == 0]
            shown = ", ".join(map(repr, unknown[:_SHOWN_IDS])) + (", …" if len(unknown) > _SHOWN_IDS else "")
            raise UnknownNewsError(f"{len(unknown)} news ids are not among the table's {len(self) - 1:,}: {shown}")
        return np.array(rows, np.int32)

    def align(self, ids: pa.StringArray, values: np.ndarray, missing: float) -> np.ndarray:
        """Carries the figures of another table's news over to the rows of this one.

        Args:
            ids: the other table's news ids.
            values: (len(ids),) the figure of each.
            missing: the figure of news that the other table lacks.

        Returns:
            (N + 1,) the figure of each row of this table.
        """
        row = pc.index_in(self.ids, value_set=ids).fill_null(-1).to_numpy()
        return np.where(row >= 0, values[row], missing)

    def select(self, ids: Sequence[str]) -> NewsTable:
        """Returns a table of some of the news, each once, in the order of their first mention.

        Raises:
            UnknownNewsError: some ids are not in the table.
        """
        rows = np.concatenate([[0], self.rows(list(dict.fromkeys(ids)))])
        columns = (field.name for field in fields(self) if field.name != "skipped")
        return NewsTable(*(getattr(self, name).take(rows) for name in columns), skipped=self.skipped)

    def frame(self, ids: Sequence[str]) -> pd.DataFrame:
        """Shows some news as a pandas table: `category`, `subcategory` and `title`, under their ids as given.

        Raises:
            UnknownNewsError: some ids are not in the table.
        """
        import pandas as pd  # takes half a second, and nothing else needs it

        rows = self.rows(ids)
        columns = {name: getattr(self, name).take(rows) for name in ("category", "subcategory", "title")}
        return pd.DataFrame(
            {name: column.to_pylist() for name, column in columns.items()}, index=pd.Index(ids, name="news")
        )

    @cached_property
    def digest(self) -> str:
        """A hex BLAKE2b digest of the columns, which names their content in cache keys.

        It is taken of the columns rather than of the file, so that it is equal for equal tables, however they
        came about, and describes what is in memory even if the file has changed since.
        """
        digest = hashlib.blake2b(digest_size=16)
        for column in (
            self.ids,
            self.category,
            self.subcategory,
            self.title,
            self.abstract,
            self.title_entities,
            self.abstract_entities,
        ):
            for part in pack_strings(column):
                digest.update(part.size.to_bytes(8, "little"))
                digest.update(part)
        return digest.hexdigest()


def _string_array(values: Sequence[str] | None, length: int) -> pa.StringArray:
    if values is None:
        values = [None] * length
    return pa.array(values, pa.string(), from_pandas=True).fill_null("")


def _collect_news(blocks: Iterable[tuple[pa.Table, np.ndarray]], faults: LineFaults) -> pa.Table:
    """The rows that hold a news for the first time, in order."""
    seen: dict[str, tuple[int, pa.Table, int]] = {}  # news id -> its line, block and row in the block
    kept = [pa.table([pa.array([], pa.string())] * len(_KEPT_COLUMNS), names=list(_KEPT_COLUMNS))]
    for block, lines in blocks:
        new, nameless, clashing = [], [], []
        for row, news_id in enumerate(block["news id"].to_pylist()):
            if news_id == "":
                nameless.append(row)
            elif news_id not in seen:
                seen[news_id] = int(lines[row]), block, row
                new.append(row)
            elif not _same_content(block, row, *seen[news_id][1:]):
                clashing.append(row)
        kept.append(block.take(pa.array(new, pa.int64())) if len(new) < block.num_rows else block)

        def describe_clash(k: int, ids: pa.ChunkedArray = block["news id"], rows: list[int] = clashing) -> str:
            news_id = ids[rows[k]].as_py()
            return f"the news id {news_id!r} stands in line {seen[news_id][0]} with another content."

        faults.add("empty news id", lines[nameless], lambda _: "the news id, column 1, is empty.")
        faults.add("news id repeated with another content", lines[clashing], describe_clash)
        faults.raise_earliest()
    return pa.concat_tables(kept)


def _same_content(block: pa.Table, row: int, earlier_block: pa.Table, earlier_row: int) -> bool:
    return block.slice(row, 1).equals(earlier_block.slice(earlier_row, 1))
