"""Benchmarks are run by hand only, and the type checker does not know the tests' helpers that some of them borrow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
HELPERS = {file.stem: file for folder in ("benchmarks", "tests/model") for file in (ROOT / folder).glob("*.py")}


def names_of(file: Path) -> set[str]:
    """What a module defines at its top, and what it imports there."""
    names: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        else:
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return names


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_what_a_benchmark_borrows_is_there(file):
    borrowed = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    missing = [
        f"{node.module}.{alias.name}"
        for node in borrowed
        if node.module in HELPERS
        for alias in node.names
        if alias.name not in names_of(HELPERS[node.module])
    ]
    assert not missing


def test_some_do_borrow():
    text = "".join(file.read_text("utf-8") for file in BENCHMARKS)
    assert "from adaptation_making import" in text and "from mixed_factors import" in text
