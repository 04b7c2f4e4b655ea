"""All that is fuzzed, by name."""

from tests.fuzz.converters import CONVERTERS
from tests.fuzz.readers import READERS
from tests.fuzz.target import Target, check

TARGETS: dict[str, Target] = READERS | CONVERTERS

__all__ = ["TARGETS", "Target", "check"]
