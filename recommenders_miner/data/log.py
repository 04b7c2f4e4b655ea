"""MIND's `behaviors.tsv` as ragged columns of integers."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.behaviors import FILE_COLUMNS, READER_VERSION, UNLABELLED, read_behaviors
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError, SkipReport, content_digest, describe_columns, fingerprint, require_file
from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

CACHE_FOLDER = ".recommenders_miner_cache"
_IN_MEMORY = Path("<columns>")
LABELS_REMEDY = (
    "Write each candidate as N123-1 (clicked) or N123-0 (not clicked), or, in a test split, none with a label."
)


@dataclass(frozen=True, eq=False, repr=False)
class ImpressionLog:
    """A click log of I impressions, H distinct histories and distinct users.

    Impression i showed the articles `candidates[i]` to the user `users[user_of[i]]`, who had clicked on
    `histories[history_of[i]]` before. Articles are given as rows of the `NewsTable` that the log was read with. The
    arrays are read-only.

    Attributes:
        candidates: the articles shown, I rows of int32.
        labels: 1 for a click, 0 for none, -1 throughout an unlabelled log, (total candidates,) int8.
        histories: the articles of the distinct histories, oldest first and never cut, H rows of int32.
        history_of: the history of each impression, (I,) int32.
        user_of: the user of each impression, (I,) int32.
        time: Unix seconds, the file's times taken as UTC, (I,) int64.
        impression_id: the file's own number of each impression, (I,) int64.
        users: the distinct user ids, in the order of their first impression.
        skipped: what `read(…, on_error="skip")` left out; None where nothing may be left out.
        key: what the log's cache is kept under; None where it has none.
        path: the file that the log was read from, or a part of, which errors name.
    """

    candidates: Ragged
    labels: np.ndarray
    histories: Ragged
    history_of: np.ndarray
    user_of: np.ndarray
    time: np.ndarray
    impression_id: np.ndarray
    users: pa.StringArray
    skipped: SkipReport | None = None
    key: str | None = None
    path: Path = _IN_MEMORY

    @classmethod
    def read(
        cls,
        path: str | Path,
        news: NewsTable,
        on_error: OnError = "raise",
        separator: str = "\t",
        cache: bool | str | Path = True,
    ) -> ImpressionLog:
        r"""Read a file in the format of MIND's `behaviors.tsv`.

        The file has five columns and no header: impression id, user id, time (`11/12/2019 2:14:46 PM` or
        `2019-11-12 14:14:46`), history (news ids separated by spaces; may be empty) and impressions (`N1-0
        N2-1`, or `N1 N2` in an unlabelled log).

        Histories are distinct as they are written in the file. What was read is kept in a memory-mapped
        cache, under the content of the file and of the news table, so that another log, another table or a
        changed file is never mistaken for it.

        Args:
            path: the file.
            news: the news that the log refers to.
            on_error: "raise" stops at the first line with an error. "skip" leaves out such lines, and of sound
                lines the articles that the table lacks; it counts both in `skipped` and logs a warning. An
                impression left without candidates is left out.
            separator: what stands between columns.
            cache: True keeps the cache in the folder `.recommenders_miner_cache` beside the file; a path
                keeps it in that folder; False keeps none. Where the folder cannot be written, or the file
                changes while it is read, none is kept and a warning is logged.

        Raises:
            DataFormatError: the file is missing, a folder or empty; or a line has not five columns, is not
                UTF-8, has a bad impression id, time or label, no user id, no candidates, an article that the
                table lacks, or only some labels where others have all or none.
        """
        path = Path(path)
        require_file(path, describe_columns(FILE_COLUMNS, separator))
        if cache is not False:
            root = path.parent / CACHE_FOLDER if cache is True else Path(cache)
            log = cls._read_cached(path, news, on_error, separator, root)
            if log is not None:
                return log
        parts = defaultdict(list)
        skipped = read_behaviors(
            path, news, on_error, separator, lambda **new: [parts[name].append(part) for name, part in new.items()]
        )
        return cls._from_arrays({name: np.concatenate(parts.pop(name)) for name in list(parts)}, path, skipped)

    @classmethod
    def _read_cached(
        cls, path: Path, news: NewsTable, on_error: OnError, separator: str, root: Path
    ) -> ImpressionLog | None:
        """Open the cache of a file, which is made if there is none; return None where none can be kept."""
        before = fingerprint(path)
        depends_on = (READER_VERSION, content_digest(path), news.digest, on_error, separator)
        key = hashlib.blake2b(repr(depends_on).encode(), digest_size=16).hexdigest()
        folder = root / f"behaviors-{key}"

        def fill(writer: array_cache.ArrayWriter) -> None:
            skipped = read_behaviors(path, news, on_error, separator, writer.append)
            writer.meta.update({} if skipped is None else {"counts": skipped.counts, "lines": skipped.lines})
            if fingerprint(path) != before:  # what was read may not be what the key was made of
                raise OSError("the file changed while it was read")

        cached = array_cache.load(folder, key)
        is_new = cached is None
        if is_new:
            array_cache.store(folder, key, path, fill)
            cached = array_cache.load(folder, key)
            if cached is None:
                return None
        arrays, meta = cached
        skipped = None if on_error == "raise" else SkipReport(path, **meta)
        if not is_new and skipped is not None and skipped.counts:
            LOGGER.warning("%s", skipped.summary())
        return cls._from_arrays(arrays, path, skipped, key)

    @classmethod
    def from_columns(
        cls,
        news: NewsTable,
        histories: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        labels: Sequence[Sequence[int]] | None = None,
        users: Sequence[str] | None = None,
        time: Sequence[int] | None = None,
        impression_id: Sequence[int] | None = None,
    ) -> ImpressionLog:
        """Make a log from columns in memory, one entry per impression.

        Args:
            news: the news that the log refers to.
            histories: the ids of the articles that the user had clicked on before, oldest first.
            candidates: the ids of the articles shown.
            labels: 1 for each candidate clicked on, 0 for the others; None makes an unlabelled log.
            users: user ids; None makes all impressions those of one user, "anonymous".
            time: Unix seconds; None makes them 0.
            impression_id: non-negative numbers; None makes them 1 … I.

        Raises:
            DataFormatError: the columns differ in length, an impression has no candidates or not as many
                labels, a label is neither 0 nor 1, or a news id is unknown. The error's `line` counts
                impressions from 1.
        """
        count = len(candidates)
        optional = {"labels": labels, "users": users, "time": time, "impression_id": impression_id}
        for name, values in {"histories": histories, **optional}.items():
            if values is not None and len(values) != count:
                raise DataFormatError(_IN_MEMORY, f"{count} impressions, but {len(values)} entries of {name}.")
        shown = _rows_of_lists(candidates, news, "candidate", range(count))
        if count == 0 or not shown.lengths.all():
            line = int(np.argmin(shown.lengths)) + 1 if count else None
            raise DataFormatError(_IN_MEMORY, "there are no candidates.", line=line)
        distinct: dict[tuple[str, ...], int] = {}
        history_of = [distinct.setdefault(tuple(history), len(distinct)) for history in histories]
        first_impression = np.unique(history_of, return_index=True)[1]
        encoded = pa.array(users or ["anonymous"] * count, pa.string()).dictionary_encode()
        return cls(
            candidates=shown,
            labels=_labels_of_lists(labels, shown.lengths),
            histories=_rows_of_lists(list(distinct), news, "history", first_impression),
            history_of=np.array(history_of, np.int32),
            user_of=encoded.indices.to_numpy(),
            time=np.zeros(count, np.int64) if time is None else np.array(time, np.int64),
            impression_id=np.arange(1, count + 1) if impression_id is None else np.array(impression_id, np.int64),
            users=encoded.dictionary,
        )

    @classmethod
    def _from_arrays(
        cls, arrays: Mapping[str, np.ndarray], path: Path, skipped: SkipReport | None, key: str | None = None
    ) -> ImpressionLog:
        """Make a log of the arrays that `read_behaviors` makes and the cache holds."""
        columns = dict(arrays)
        columns["candidates"] = Ragged(columns["candidates"], columns.pop("offsets"))
        columns["histories"] = Ragged(columns["histories"], columns.pop("history_offsets"))
        users = array_cache.unpack_strings(columns.pop("user_bytes"), columns.pop("user_offsets"))
        return cls(**columns, users=users, skipped=skipped, key=key, path=path)

    def __post_init__(self) -> None:
        for name, values in list(vars(self).items()):
            if isinstance(values, np.ndarray):
                object.__setattr__(self, name, _read_only(values))
            elif isinstance(values, Ragged):
                object.__setattr__(self, name, Ragged(_read_only(values.values), _read_only(values.offsets)))

    def __len__(self) -> int:
        """The number of impressions."""
        return len(self.impression_id)

    def __repr__(self) -> str:
        kind = "labelled" if self.labelled else "unlabelled"
        return (
            f"ImpressionLog({len(self):,} {kind} impressions, {len(self.labels):,} candidates, "
            f"{len(self.histories):,} histories, {len(self.users):,} users)"
        )

    @property
    def num_impressions(self) -> int:
        """The number of impressions."""
        return len(self)

    def history(self, row: int) -> np.ndarray:
        """Return the clicks of a distinct history, (clicks,) int32 rows of the news, oldest first."""
        return self.histories[row]

    def select(self, impressions: np.ndarray) -> ImpressionLog:
        """Return a log of some impressions, given as ascending rows, with their users and histories alone."""
        histories, history_of = np.unique(self.history_of[impressions], return_inverse=True)
        users, user_of = np.unique(self.user_of[impressions], return_inverse=True)
        return ImpressionLog(
            candidates=self.candidates.take(impressions),
            labels=Ragged(self.labels, self.candidates.offsets).take(impressions).values,
            histories=self.histories.take(histories),
            history_of=history_of.astype(np.int32),
            user_of=user_of.astype(np.int32),
            time=self.time[impressions],
            impression_id=self.impression_id[impressions],
            users=self.users.take(pa.array(users)),
            path=self.path,
        )

    def lacking_to(self, use: str, non_clicks: bool = True) -> str:
        """Say why there is nothing to "train on", say, or "evaluate on": "" where there is.

        There has to be an impression with a click, and with a non-click beside it unless `non_clicks` are not needed.
        """
        if not self.labelled:
            problem = "no candidate has a label"
        elif not self.clicks.any():
            problem = "no candidate was clicked"
        elif non_clicks and not self.has_both.any():
            problem = "no impression has both a click and a non-click"
        else:
            return ""
        return f"{problem}: there is nothing to {use}."

    def require(self, use: str, non_clicks: bool = True) -> None:
        """Refuse a log that lacks what it takes to use it so: `DataFormatError`; the arguments are `lacking_to`'s."""
        if problem := self.lacking_to(use, non_clicks):
            raise DataFormatError(self.path, problem, remedy=LABELS_REMEDY)

    @cached_property
    def clicks(self) -> np.ndarray:
        """How many candidates of each impression were clicked, (I,) int64."""
        return self.candidates.sums(self.labels == 1)

    @property
    def has_both(self) -> np.ndarray:
        """Which impressions have both a click and a non-click, (I,) bool."""
        return (self.clicks > 0) & (self.clicks < self.candidates.lengths)

    @property
    def labelled(self) -> bool:
        """Whether the log says which candidates were clicked."""
        return bool(self.labels[0] != UNLABELLED)

    @cached_property
    def digest(self) -> str:
        """A hex BLAKE2b digest that names the content: the cache's key, or, where there is no cache, of the arrays."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(digest_size=16)
        arrays = (self.labels, self.history_of, self.user_of, self.time, self.impression_id)
        rows = (self.candidates.values, self.candidates.offsets, self.histories.values, self.histories.offsets)
        for part in (*arrays, *rows, *array_cache.pack_strings(self.users)):
            digest.update(part.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written through; the caller's own array stays as it is."""
    frozen = array.view()
    frozen.setflags(write=False)
    return frozen


def _rows_of_lists(lists: Sequence[Sequence[str]], news: NewsTable, kind: str, impressions: Sequence[int]) -> Ragged:
    """Return the news rows of all lists; `kind` and `impressions`, where each list is from, are for the error."""
    rows = [[news.row_of.get(news_id, 0) for news_id in ids] for ids in lists]
    for found, ids, impression in zip(rows, lists, impressions, strict=True):
        if 0 in found:
            problem = f"the {kind} news {ids[found.index(0)]!r} is not in the news table."
            raise DataFormatError(_IN_MEMORY, problem, line=int(impression) + 1)
    return Ragged.of_lists(rows)


def _labels_of_lists(labels: Sequence[Sequence[int]] | None, candidate_counts: np.ndarray) -> np.ndarray:
    """Return the labels of all candidates, (total candidates,) int8."""
    if labels is None:
        return np.full(candidate_counts.sum(), UNLABELLED, np.int8)
    for line, (values, count) in enumerate(zip(labels, candidate_counts, strict=True), start=1):
        if len(values) != count:
            raise DataFormatError(_IN_MEMORY, f"{count} candidates, but {len(values)} labels.", line=line)
        if not all(label in (0, 1) for label in values):
            raise DataFormatError(_IN_MEMORY, f"a label must be 0 or 1, got {list(values)}.", line=line)
    return np.array(list(itertools.chain.from_iterable(labels)), np.int8)
