"""docs/troubleshooting.md: each message that it explains is one that the package prints."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENTRIES = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)


@functools.cache
def texts():
    """What stands in the strings of each module, in one; what is filled in leaves them apart."""
    found = []
    for path in (ROOT / "recommenders_miner").rglob("*.py"):
        strings = [node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_text(node)]
        found.append("\0".join(strings))
    return found


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def parts_of(message):
    """The parts of a message between what differs."""
    return [part.strip() for part in message.split("…") if re.search(r"\w", part)]


@pytest.mark.parametrize("message", ENTRIES)
def test_the_package_prints_what_is_explained(message):
    parts = parts_of(message)
    assert parts
    assert any(all(part in text for part in parts) for text in texts()), parts


def test_the_page_has_entries_once_each():
    assert len(ENTRIES) > 10
    assert len(set(ENTRIES)) == len(ENTRIES)
    assert not any("no such message" in text for text in texts()), "what is not printed is not found"
