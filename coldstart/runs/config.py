"""A run's configuration, and the configs that come with the package. It imports nothing heavy."""

from __future__ import annotations

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.files import is_remote
from collections.abc import Sequence
from pathlib import Path
from typing import Any
import yaml


def configs_folder() -> Path:
    """Where the shipped configs lie: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
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


def read_config(folder: StrPath) -> dict[str, Any]:
    """The configuration that the run was fitted with.

    Raises:
        InputError: the folder holds none.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: not a run (config.yaml is missing)")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def set_flag(config: dict[str, Any], flag: str, value: Any) -> None:
    """Put a fit's dotted flag into its configuration; an encoder's argument by its bare name.

    >>> config = {"model": {"encoders": {"mgp": {"class_path": "MGP"}}}}
    >>> set_flag(config, "model.encoders.mgp.dropout", 0.1)
    >>> set_flag(config, "trainer.max_epochs", 3)
    >>> config["model"]["encoders"]["mgp"]["init_args"], config["trainer"]
    ({'dropout': 0.1}, {'max_epochs': 3})
    """
    *folders, last = flag.split(".")
    if folders[:2] == ["model", "encoders"] and len(folders) > 2:
        folders = [*folders[:3], "init_args", *folders[3:]]
    place = config
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value


def absolute_data(data: Any) -> None:
    """A run must find its data from whatever folder it is opened: make its paths absolute."""
    for key in ("shards", "factors"):
        if data[key] is not None and not is_remote(data[key]):
            data[key] = str(Path(data[key]).absolute())
