"""Which layer imports which, and what no folder may know; docs/architecture.md draws it."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import coldstart
from coldstart.cli import LIGHTNING_VERBS, VERBS

PACKAGE = Path(coldstart.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}

LAYERS: list[set[str]] = [
    {"errors", "components", "argument_text", "ranking"},
    {"sigterm"},
    {"processes", "files"},
    {"addresses"},
    {"audio", "forms", "reporting", "tables", "sample", "registry"},
    {"encoders", "extractors", "factors", "shards", "datasets"},
    {"fusion", "targets"},
    {"data", "testing"},
    {"model"},
    {"evaluation"},
    {"runs"},
    {"retrieval"},
    {"training", "service", "summary", "spark"},
    {"commands", "cli"},
    {"studies"},
]
"""From the ground up: folders and flat files; `__init__` and `__main__` stand above all of them."""
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

HEAVY = ("torch", "lightning", "polars", "pyspark")
FREE_OF: dict[str, set[str]] = {
    "encoders": {"lightning", "polars"},
    "extractors": {"lightning"},
    "extractors.base": {"polars"},
    "fusion": {"lightning", "polars"},
    "targets": {"lightning"},
    "model": {"lightning"},
    "data.track_data": {"lightning"},
    "evaluation": {"lightning"},
    "runs": {"lightning"},
    "retrieval": {"lightning"},
    "service": {"lightning"},
    "summary": {"lightning"},
    "spark": {"lightning"},
    "studies.benchmark.steps": {"lightning"},
    "datasets": {"torch", "lightning"},
    "cli": set(HEAVY),
    "runs.config": set(HEAVY),
}
"""Folder or file → packages that it must not reach, directly or through what it imports."""


def room(module: str) -> str:
    """The folder, or the flat file, that a module lies in.

    >>> room("coldstart.data.batch"), room("coldstart.files"), room("coldstart")
    ('data', 'files', '')
    """
    return [*module.split("."), ""][1]


def statements(tree: ast.AST, everywhere: bool) -> Iterator[ast.stmt]:
    """Import statements: of the module's own level, or also in functions and TYPE_CHECKING."""
    if everywhere:
        yield from (n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)))
        return
    for node in getattr(tree, "body", []):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from statements(node, everywhere)


@functools.cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """What a module imports: our modules by their full name, other packages by their first."""
    names: set[str] = set()
    for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8")), everywhere):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = inside & MODULES.keys()
            names |= submodules
            if len(submodules) < len(inside):
                names.add(node.module)
    return frozenset(name if name in MODULES else name.split(".")[0] for name in names)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The ways round: each a list of modules, the first of which imports the second, and so on."""
    state: dict[str, int] = {}
    path: list[str] = []
    ways: list[list[str]] = []

    def visit(module: str) -> None:
        state[module] = 1
        path.append(module)
        for other in sorted(graph[module]):
            if state.get(other) == 1:
                ways.append([*path[path.index(other) :], other])
            elif other not in state:
                visit(other)
        path.pop()
        state[module] = 2

    for module in sorted(graph):
        if module not in state:
            visit(module)
    return ways


def reachable(module: str) -> set[str]:
    """All that importing a module imports."""
    visited, waiting = {module}, [module]
    while waiting:
        for name in imports(waiting.pop(), everywhere=False) - visited:
            visited.add(name)
            if name in MODULES:
                waiting.append(name)
    return visited


INSIDE = [name for name in MODULES if room(name) not in ("", "__main__")]


def test_every_module_has_a_layer() -> None:
    assert {room(name) for name in INSIDE} == LAYER.keys()


def test_imports_run_down_the_layers_also_in_functions_and_under_type_checking() -> None:
    upwards = [
        f"{module} imports {other}"
        for module in INSIDE
        for other in sorted(imports(module) & set(INSIDE))
        if room(other) != room(module) and LAYER[room(other)] >= LAYER[room(module)]
    ]
    assert upwards == []


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {module: set(INSIDE) & imports(module) for module in INSIDE}
    assert circles(graph) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_nobody_imports_a_private_name_of_another_file() -> None:
    strange = [
        f"{module}: {node.module}.{alias.name}"
        for module in INSIDE
        for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coldstart")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert strange == []


@pytest.mark.parametrize("place", FREE_OF)
def test_a_room_does_not_reach_what_it_must_do_without(place: str) -> None:
    for module in [n for n in MODULES if f"{n}.".startswith(f"coldstart.{place}.")]:
        assert not reachable(module) & FREE_OF[place], module


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in LIGHTNING_VERBS])
def test_help_needs_neither_torch_nor_lightning(verb: str) -> None:
    code = (
        "import sys; from coldstart.cli import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"coldstart {verb}" in done.stdout


def test_few_files_lie_flat_and_each_folder_says_what_belongs_there() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12
    for folder in {path.parent for path in MODULES.values()} - {PACKAGE}:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), folder
        if folder.name not in ("datasets", "testing"):
            assert len(tree.body) == 1, folder


def test_no_folder_bears_a_public_name() -> None:
    folders = {path.parent.name for path in MODULES.values()} - {"coldstart"}
    nested = {"ablate", "benchmark", "tune"}  # in studies/: no attribute of the package
    assert not folders & set(coldstart.__all__) - nested
    assert not {path.stem for path in PACKAGE.glob("*")} & set(coldstart.__all__)


@pytest.mark.parametrize("place", ["model", "data", "training.lightning_module"])
def test_the_core_names_no_modality(place: str) -> None:
    modalities = {"audio", "mgp", "mlg", "genres", "artist", "cqt", "mel", "waveform"}
    for module in [n for n in MODULES if f"{n}.".startswith(f"coldstart.{place}.")]:
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        examples = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        names = {
            node.value.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in examples
        }
        assert not names & modalities, module
        classes = {
            f"coldstart.encoders.{name}"
            for name in ("artist", "attributes", "audio", "embedding", "genres", "patches")
        }
        assert not imports(module) & classes, module


def test_one_name_stands_for_one_type() -> None:
    places: dict[str, set[str]] = {}
    for module in INSIDE:
        for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, set()).add(module)
            elif isinstance(target, ast.Name) and re.fullmatch("[A-Z]+[a-z]+[A-Za-z]*", target.id):
                places.setdefault(target.id, set()).add(module)  # an alias of a type
    several = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert {name: m for name, m in several.items() if not name.startswith("_")} == {}


def test_only_commands_and_studies_print() -> None:
    prints = [
        f"{module}:{node.lineno}"
        for module in INSIDE
        if room(module) not in ("commands", "studies", "cli")
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert prints == []


def test_files_stay_short_enough_to_read_in_one_sitting() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 450} == {}
