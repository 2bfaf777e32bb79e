"""Configs that come with the package, found by their bare names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coldstart.errors import InputError


def configs_folder() -> Path:
    """Where the shipped configs lie: in the package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the bare names of shipped configs, where no such file is in the current folder."""
    found = list(args)
    for i, arg in enumerate(found):
        if arg.startswith("--config="):
            found[i] = f"--config={find_config(arg.removeprefix('--config='))}"
        elif i and args[i - 1] in ("--config", "-c"):
            found[i] = find_config(arg)
    return found


def find_config(name: str) -> str:
    """The path of a config: as it is, or of a shipped one by its bare name.

    Raises:
        InputError: it is neither here nor among the shipped ones, which are listed.
    """
    if Path(name).is_file() or not name.endswith((".yaml", ".yml")):
        return name
    shipped = configs_folder() / name
    if "/" not in name and shipped.is_file():
        return str(shipped)
    names = ", ".join(sorted(path.name for path in configs_folder().glob("*.yaml")))
    raise InputError(f"{name}: there is no such config here, and the shipped ones are: {names}")
