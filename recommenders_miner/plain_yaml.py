"""YAML of plain values: numbers, texts, lists and mappings, and nothing that runs or multiplies when it is read."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

_MOST_CHARACTERS = 2**14
_MOST_NODES = 2**12  # keys and values, lists and mappings: PyYAML takes some 600 bytes for each, though it be empty
_MOST_DIGITS = 100
_DEEPEST = 50


class _PlainLoader(yaml.SafeLoader):
    """A safe loader without aliases: ten lists, each of ten aliases of the one before, are ten billion values."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*name) are not read; write the value out", mark)
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ComposerError(None, None, f"more than {_MOST_NODES:,} values", self.peek_event().start_mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ComposerError(None, None, "nested too deeply", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_int(self, node: yaml.Node) -> int:
        if len(node.value) > _MOST_DIGITS:  # Python refuses to print long ones, and takes long for those in base 60
            raise ConstructorError(None, None, f"a number of more than {_MOST_DIGITS} digits", node.start_mark)
        return self.construct_yaml_int(node)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_int)


def parse_yaml(text: str) -> Any:
    """Reads one YAML document.

    Args:
        text: YAML, at most 16,384 characters and 4,096 values. Tags make no objects, and aliases are refused.

    Returns:
        None, a bool, number, text, date, list, set or dict of such.

    Raises:
        ValueError: the text is something else; the message says where, if that is known.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, and at most {_MOST_CHARACTERS:,} are read")
    try:
        return yaml.load(text, _PlainLoader)
    except Exception as error:  # beside its own errors PyYAML lets through those of int(), datetime and others
        raise ValueError(str(error)) from None
