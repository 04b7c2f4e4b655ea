"""Who may import whom: docs/architecture.md has the same list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recommenders_miner"

# A module imports from its own entry and from those above it.
LEVELS = (
    ("errors", "progress", "backend", "tables", "compat.settings"),
    ("storage", "hparams"),
    ("data",),
    ("reranking",),
    ("layers",),
    ("encoders",),
    ("evaluation",),
    ("explain",),
    ("compat",),
    ("models",),
    ("datasets",),
    ("retrieval", "plots"),
    ("inspection",),
    ("experiments",),
    ("serving", "distributed"),
    ("cli",),
)
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def imports(path):
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recommenders_miner"):
            module = node.module.removeprefix("recommenders_miner").removeprefix(".")
            for alias in node.names:
                name = f"{module}.{alias.name}".removeprefix(".")
                yield name if name in MODULES else module
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("recommenders_miner.")
                for alias in node.names
                if alias.name.startswith("recommenders_miner.")
            )


def level(module):
    """The place of a module in the list: that of the longest entry that names it."""
    places = {entry: place for place, entries in enumerate(LEVELS) for entry in entries}
    named = [entry for entry in places if module == entry or module.startswith(f"{entry}.")]
    return places[max(named, key=len)]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_below_its_level(module):
    lower = {other for other in imports(MODULES[module]) if other and level(other) > level(module)}
    assert not lower, f"{module} imports {lower}, which stand below it in LEVELS"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: {other for other in imports(path) if other in MODULES} for module, path in MODULES.items()}
    # A package's __init__ stands for what it gathers: its own modules may not import from it.
    done: set[str] = set()

    def visit(module, above):
        assert module not in above, f"a circle: {' -> '.join([*above[above.index(module) :], module])}"
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, [*above, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_files_stay_short():
    longest = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: lines for module, lines in longest.items() if lines > 400}
