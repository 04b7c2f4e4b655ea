"""Values of the wire form: ids, times, topics, and what columns of articles may hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

LATEST_TIME = 1e11
"""Seconds, in the year 5138: what is later is no time that a database holds."""

_LARGEST, _LONGEST_TEXT = 2**53, 100_000

Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        # Ids stand in TSV files, separated by spaces; U+FFFD is what bytes that are not UTF-8 become in an address.
        pattern=r"^[^\s\x00-\x1f\x7f\ufeff\ufffd]+$",
        description="1 to 200 characters, without white space and control characters.",
    ),
]
Seconds = Annotated[float, Field(ge=0, le=LATEST_TIME, allow_inf_nan=False)]


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half of a surrogate pair, which JSON can name, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Let through what databases and tables hold, in one message for all that they do not."""
    for one in value if isinstance(value, list) else [value]:
        is_number = isinstance(one, int | float) and abs(one) <= _LARGEST
        is_text = isinstance(one, str) and len(one) <= _LONGEST_TEXT and is_unicode(one)
        if not (one is None or is_number or is_text):
            raise ValueError(
                f"has to be a text of at most {_LONGEST_TEXT:,} characters, a number up to 2^53, true, false or null, "
                "or a list of these"
            )
    return value


_PLAIN = {"type": ["string", "number", "boolean", "null"], "maxLength": _LONGEST_TEXT}
Value = Annotated[
    Any,
    PlainValidator(_plain),
    WithJsonSchema({"anyOf": [_PLAIN, {"type": "array", "items": _PLAIN}]}),
]
Column = Annotated[str, Field(min_length=1, max_length=100)]
Topic = Annotated[str, Field(min_length=1, max_length=200)]
