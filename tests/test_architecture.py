"""Nothing runs backwards: which module may import which."""

import ast
from pathlib import Path

import pytest

import coldstart

PACKAGE = Path(coldstart.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}
# What a room must not know of, directly or through what it imports.
FORBIDDEN = {
    "coldstart.encoders": {"lightning", "polars", "coldstart.shards", "coldstart.cli"},
    "coldstart.fusion": {"lightning", "polars", "coldstart.shards", "coldstart.cli"},
    "coldstart.targets": {"lightning", "coldstart.shards", "coldstart.model"},
    "coldstart.data": {"coldstart.model", "coldstart.evaluation", "coldstart.cli"},
    "coldstart.model": {"coldstart.evaluation", "coldstart.callbacks", "coldstart.training"},
    "coldstart.metrics": {"coldstart.data", "coldstart.model", "polars"},
    "coldstart.datasets": {"torch", "lightning", "coldstart.shards", "coldstart.cli"},
    "coldstart.cli": {"torch", "lightning", "polars"},  # `coldstart --help` must be quick
}


def imports(path: Path) -> set[str]:
    """Everything a file imports when it is imported (not inside functions or TYPE_CHECKING)."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.update({node.module, *(f"{node.module}.{a.name}" for a in node.names)})
            elif isinstance(node, ast.ClassDef):
                visit(node.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def reachable(module: str) -> set[str]:
    seen: set[str] = set()
    visited, waiting = {module}, [module]
    while waiting:
        for name in imports(MODULES[waiting.pop()]):
            seen.update({name, name.split(".")[0]})
            if name in MODULES and name not in visited:
                visited.add(name)
                waiting.append(name)
    return seen


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_not_know_what_lies_above_it(room: str) -> None:
    for module in [name for name in MODULES if name == room or name.startswith(room + ".")]:
        known = reachable(module)
        assert not known & FORBIDDEN[room], f"{module} reaches {known & FORBIDDEN[room]}"


def test_the_model_names_no_modality() -> None:
    text = (PACKAGE / "model.py").read_text(encoding="utf-8")
    names = {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not names & {"audio", "mgp", "mlg", "genres"}


def test_files_stay_short_enough_to_read_in_one_sitting() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 450} == {}
