"""Data flows one way: what a module imports lies below it, so that each layer can be read without those above."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ksmbench"
# From the ground up. A layer's modules import each other and what stands in lines above theirs, whatever the place of
# the import; those of one line do not import each other.
LAYERS = (
    {"errors"},
    {"jit", "outputs"},
    {"trace"},
    {"syscalls"},
    {"capture", "engine"},
    {"reshape"},
    {"imports", "designs", "explaining"},
    {"policies", "provenance", "metrics"},
    {"specs", "result"},
    {"replaying", "tasks"},
    {"report"},
    {"comparing"},
    {"sweeping"},
    {"tuning", "validate"},
    {"calibrate", "doctor", "recipes"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def _imported(path: Path) -> Iterator[str]:
    # The layers that a file imports from. `from ksmbench import NAME` is of a layer where NAME is one.
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ksmbench":
            yield from (alias.name for alias in node.names if alias.name in HEIGHT)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ksmbench."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ksmbench."))


@pytest.mark.parametrize("name", sorted({_layer(path) for path in FILES} - {"__init__"}))
def test_a_layer_imports_what_is_below_it(name: str) -> None:
    against = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in FILES
        if _layer(path) == name
        for other in sorted(set(_imported(path)))
        if other != name and HEIGHT[other] >= HEIGHT[name]
    ]
    assert against == []
