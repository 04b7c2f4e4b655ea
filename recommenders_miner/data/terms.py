"""TF-IDF weights of titles: fitted once on the training titles, kept as readable text, applied without a dense row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data.text import tokenize
from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabulary import UNKNOWN_ID, Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import atomic_write

TERMS_FILE, IDF_FILE = "terms.txt", "term_idf.txt"
_EXPECTED = f"inverse document frequencies: one positive number a line for each term of {TERMS_FILE}"


@dataclass(frozen=True, eq=False)
class TermWeights:
    """What TF-IDF learns of the training titles, and the weights that it gives to any titles.

    It is scikit-learn's `TfidfVectorizer` over the words of `tokenize`: a term's weight in a title is its count there
    times its idf, and a title's weights are scaled to length 1. Words that are no term are left out.

    Attributes:
        terms: the terms, with ids as everywhere: 0 is padding, 1 unknown.
        idf: (len(terms),) float64 inverse document frequencies; zero for the two ids that are no term.
    """

    terms: Vocabulary
    idf: np.ndarray

    @classmethod
    def fit(cls, titles: Sequence[str], title_size: int, max_terms: int) -> Self:
        """Learns terms and idf from some titles.

        Args:
            titles: the training titles.
            title_size: words of a title that are read, the first.
            max_terms: the most frequent words are terms, at most this many.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes half a second, and only two systems need it

        words = [tokenize(title)[:title_size] for title in titles]
        if not any(words):
            return cls(Vocabulary([]), np.zeros(2))
        vectorizer = TfidfVectorizer(tokenizer=list, token_pattern=None, lowercase=False, max_features=max_terms)
        vectorizer.fit(words)
        return cls(Vocabulary(vectorizer.get_feature_names_out().tolist()), np.concatenate([[0, 0], vectorizer.idf_]))

    def weigh(self, titles: Iterable[str], title_size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns the sparse TF-IDF vector of each title.

        Args:
            titles: any titles.
            title_size: words of a title that are read, the first.

        Returns:
            For each title, the ids of its distinct terms, ascending int64, and their weights, float64; both empty where
            it has no known term.
        """
        documents = [self.terms.encode(tokenize(title)[:title_size]) for title in titles]
        title_of = np.repeat(np.arange(len(documents)), list(map(len, documents)))
        ids = np.array(list(itertools.chain.from_iterable(documents)), "int64")
        known = ids > UNKNOWN_ID
        pairs, counts = np.unique(title_of[known] * len(self.terms) + ids[known], return_counts=True)
        title_of, ids = np.divmod(pairs, len(self.terms))
        weights = counts * self.idf[ids]
        weights /= np.sqrt(np.bincount(title_of, weights**2, minlength=len(documents)))[title_of]
        bounds = list(itertools.pairwise(np.searchsorted(title_of, np.arange(len(documents) + 1))))
        return [ids[start:end] for start, end in bounds], [weights[start:end] for start, end in bounds]

    def save(self, folder: str | Path) -> None:
        """Writes terms.txt, a term a line, and term_idf.txt, their idf in the same order, exactly."""
        self.terms.save(Path(folder) / TERMS_FILE)
        with atomic_write(Path(folder) / IDF_FILE) as partial:
            partial.write_text("".join(f"{value!r}\n" for value in self.idf[2:].tolist()), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            DataFormatError: a file is missing or damaged, or the two do not belong together.
        """
        terms = Vocabulary.load(Path(folder) / TERMS_FILE)
        path, count = Path(folder) / IDF_FILE, len(terms) - 2
        if not count:
            return cls(terms, np.zeros(2))
        require_file(path, _EXPECTED)
        lines = path.read_bytes().splitlines()
        idf = [_idf(path, line, text) for line, text in enumerate(lines, start=1)]
        if len(idf) != count:
            problem = f"the file should have {count:,} lines, one for each term of {TERMS_FILE}, and has {len(idf):,}."
            raise DataFormatError(path, problem, line=min(len(idf), count) + 1)
        return cls(terms, np.array([0, 0, *idf]))


def _idf(path: Path, line: int, text: bytes) -> float:
    """Parses a line of the idf file; raises DataFormatError where it is no positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise DataFormatError(path, f"expected a positive number, got {text[:40]!r}.", line=line)
    return value
