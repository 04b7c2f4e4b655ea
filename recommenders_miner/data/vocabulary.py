"""The two-way map between tokens and the integer ids that embeddings are looked up by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data.tsv import require_file
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import atomic_write

PADDING, UNKNOWN = "<padding>", "<unknown>"
PADDING_ID, UNKNOWN_ID = 0, 1
_AT_ONCE = 2**16
_EXPECTED = f"a vocabulary: UTF-8 text with one token a line, the first two {PADDING} and {UNKNOWN}"


class Vocabulary:
    """Tokens with ids: 0 is padding, 1 any unknown token, 2 and up the tokens in the given order.

    Padding and unknown are apart, so that a mask over padding never hides an unknown word.

    Args:
        tokens: distinct, non-empty tokens without line breaks, and without the two special ones.

    Example:
        >>> vocabulary = Vocabulary(["film", "goal"])
        >>> vocabulary.encode(["goal", "opera"])
        [3, 1]
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens: list[str] = [PADDING, UNKNOWN, *tokens]
        self._id_of = {token: token_id for token_id, token in enumerate(self.tokens) if token_id > UNKNOWN_ID}

    @classmethod
    def build(cls, documents: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Collect the tokens of some documents, most frequent first, ties in alphabetical order.

        Tokens that occur less often than `min_count`, or that no vocabulary can hold, as those with a line break, stay
        unknown.
        """
        counts = Counter(token for document in documents for token in document)
        frequent = [token for token, count in counts.items() if count >= min_count and not token_problem(token, ())]
        return cls(sorted(frequent, key=lambda token: (-counts[token], token)))

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Vocabulary:
        """Take names as they come, each once; those that no vocabulary can hold stay unknown."""
        return cls([name for name in dict.fromkeys(names) if not token_problem(name, ())])

    def __len__(self) -> int:
        """The number of ids, with the two special ones: the number of rows an embedding needs."""
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._id_of

    def __getitem__(self, token: str) -> int:
        return self._id_of.get(token, UNKNOWN_ID)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids)"

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of some tokens, 1 for those that are not in the vocabulary."""
        return [self[token] for token in tokens]

    def encode_strings(self, tokens: pa.StringArray) -> np.ndarray:
        """Return the ids of a column of tokens, (len(tokens),) int32; only some at a time are strings of Python."""
        ids = np.full(len(tokens), UNKNOWN_ID, np.int32)
        for first in range(0, len(tokens) if self._id_of else 0, _AT_ONCE):
            ids[first : first + _AT_ONCE] = self.encode(tokens.slice(first, _AT_ONCE).to_pylist())
        return ids

    def save(self, path: str | Path) -> None:
        """Write the tokens as UTF-8 text: line k holds the token with id k - 1."""
        with atomic_write(path) as partial:
            partial.write_bytes("".join(f"{token}\n" for token in self.tokens).encode())

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote."""
        path = Path(path)
        require_file(path, _EXPECTED)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise DataFormatError(path, "the line is not valid UTF-8.", line=line) from None
        tokens = [token.removesuffix("\r") for token in text.removesuffix("\n").split("\n")]
        for line, special in enumerate((PADDING, UNKNOWN), start=1):
            if len(tokens) < line or tokens[line - 1] != special:
                raise DataFormatError(path, f"expected {special}; the file should be {_EXPECTED}.", line=line)
        seen: set[str] = set()
        for line, token in enumerate(tokens[2:], start=3):
            if problem := token_problem(token, seen):
                raise DataFormatError(path, f"the token {token!r} {problem}.", line=line)
            seen.add(token)
        return cls(tokens[2:])


def token_problem(token: str, seen: Container[str]) -> str | None:
    """What keeps a token from following those already `seen`; None if nothing does."""
    if token == "":
        return "is empty"
    if "\n" in token or "\r" in token:
        return "contains a line break"
    if token in (PADDING, UNKNOWN):
        return "is reserved"
    if not token.isascii() and token != token.encode(errors="ignore").decode():
        return "has half of a surrogate pair, which UTF-8 cannot hold"
    return "stands there twice" if token in seen else None
