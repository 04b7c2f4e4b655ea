"""What converters share: the folder that they write, whole or not at all, and articles as `news.tsv` has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import ARTICLES_FILE, NEWS_FILE
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.past_clicks import CONVERSION_FILE
from recommenders_miner.data.tsv import LineErrors
from recommenders_miner.data.write import require_apart, write_articles, write_table
from recommenders_miner.datasets.columns import Block
from recommenders_miner.storage import new_folder

# What str.splitlines breaks a text at, and the tab.
_BREAKS = "[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+"

Texts = pa.StringArray | Sequence[str | None]


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
        """Add counts to those of a split; underscores in their names stand for spaces."""
        noted = self.counts.setdefault(split, {})
        for name, count in counts.items():
            noted[name.replace("_", " ")] = noted.get(name.replace("_", " "), 0) + int(count)

    def finish(self, errors: LineErrors) -> None:
        """Note, and log, what was left out of a file that is read to its end."""
        report = errors.log_summary()
        if report is not None and report.counts:
            self.left_out[str(errors.path)] = dict(report.counts)


@contextmanager
def conversion_to(
    out: str | Path, settings: Mapping[str, Any], sources: Sequence[Path], overwrite: bool
) -> Iterator[Conversion]:
    """Lend an empty folder that becomes `out` when the block ends without an error.

    Args:
        out: the folder to write.
        settings: what the conversion depends on; goes into `conversion.json` with the counts.
        sources: what is read.
        overwrite: whether to replace a folder that holds something.

    Yields:
        The conversion, to write into its `folder` and to note counts in.

    Raises:
        FolderExistsError: `out` holds something.
        RecommendersMinerError: `out` is a source, or a folder around one.
    """
    out = Path(out)
    require_apart(out, *sources)
    with new_folder(out, overwrite) as folder:
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

    def numbers(self, texts: pa.StringArray) -> np.ndarray:
        """Return the number of each text, (texts,) int32."""
        encoded = texts.dictionary_encode()
        known = self._number_of
        numbers = np.array([known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()], np.int32)
        return numbers[encoded.indices.to_numpy(zero_copy_only=False)] if len(texts) else numbers

    @property
    def texts(self) -> pa.StringArray:
        """The texts by their numbers."""
        return pa.array(list(self._number_of), pa.string())


class FirstRows:
    """The rows of tables that name an id for the first time.

    Args:
        compared: the columns in which a later row of an id has to say the same.

    Attributes:
        place_of: the place of each id in `table`.
    """

    def __init__(self, compared: Sequence[str]) -> None:
        self.place_of: dict[str, int] = {}
        self._compared, self._parts = list(compared), []

    @property
    def table(self) -> pa.Table:
        """The rows so far."""
        return pa.concat_tables(self._parts, promote_options="permissive")

    def add(self, block: Block, rows: pa.Table, ids: pa.StringArray, reason: str, says: str, remedy: str) -> None:
        """Keep the rows of new ids; those that say something else of an id that came before are bad.

        Args:
            block: where the rows come from; those that are not sound are passed over.
            rows: of the table, one a row of the block.
            ids: of the rows.
            reason: the kind of error, as what is left out is counted by it.
            says: what is wrong, `{}` standing for the id.
            remedy: what the user can do about it.
        """
        ids, new, again = ids.to_pylist(), [], []
        for row in np.flatnonzero(block.sound).tolist():
            (again if ids[row] in self.place_of else new).append(row)
            self.place_of.setdefault(ids[row], len(self.place_of))
        self._parts.append(rows.take(pa.array(new, pa.int64())))
        places = pa.array([self.place_of[ids[row]] for row in again], pa.int64())
        first = self.table.select(self._compared).take(places).to_pylist()
        later = rows.select(self._compared).take(pa.array(again, pa.int64())).to_pylist()
        clashing = np.zeros(len(ids), bool)
        clashing[again] = [one != other for one, other in zip(first, later, strict=True)]
        block.report(reason, clashing, lambda row: says.format(repr(ids[row])), remedy)


# === Articles ===


def news_rows(
    ids: Texts,
    titles: Texts,
    category: Texts | None = None,
    subcategory: Texts | None = None,
    abstract: Texts | None = None,
    url: Texts | None = None,
) -> pa.Table:
    """Make the eight columns of a `news.tsv`, without entities.

    Tabs and line ends in texts become a space, since nothing can quote them there.

    Args:
        ids: ids of articles, as `Block.news_ids` accepts them.
        titles: titles. Here and in what follows None is the empty text.
        category: category names; all empty where left out, as are the others.
        subcategory: subcategory names.
        abstract: abstracts.
        url: addresses.
    """
    given = (ids, category, subcategory, titles, abstract, url)
    columns = [one_line([None] * len(ids) if texts is None else texts) for texts in given]
    no_entities = pa.array(["[]"]).take(pa.array(np.zeros(len(ids), np.int64)))
    return pa.table([*columns, no_entities, no_entities], names=list(FILE_COLUMNS))


def write_news(folder: Path, news: pa.Table) -> None:
    """Write `news.tsv`, and `articles.parquet` with the columns that it has no room for, if there are any.

    Args:
        folder: where to.
        news: the columns that `news_rows` makes, and further ones, such as `published`.
    """
    write_table(folder / NEWS_FILE, news.select(FILE_COLUMNS))
    further = news.drop_columns(list(FILE_COLUMNS))
    if further.num_columns:
        write_articles(folder / ARTICLES_FILE, further.add_column(0, "id", news["news id"]))


def one_line(texts: Texts) -> pa.StringArray:
    """Return texts with a space for every tab and line end, and the empty text for None."""
    if not isinstance(texts, pa.Array):
        texts = pa.array(texts, pa.string())
    return pc.replace_substring_regex(texts.fill_null(""), _BREAKS, " ")
