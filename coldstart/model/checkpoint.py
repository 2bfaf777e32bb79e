"""Checkpoints on disk: the path of a run's best one, and reading one without unpickling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coldstart.errors import InputError
from coldstart.files import StrPath

LAST = "last.ckpt"
"""The state from which a fit is resumed, in a run's `checkpoints/`."""

VERSION = 1
"""Version of the recipe that rebuilds a model; see `Net.recipe`."""


def best_checkpoint(folder: StrPath) -> Path:
    """The checkpoint with the lowest validation loss.

    Raises:
        InputError: the folder holds no fitted run.
    """
    path = Path(folder) / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise InputError(
            f"{folder}: no fitted model here (checkpoints/best.ckpt is missing); make one with "
            f"`coldstart fit --config CONFIG --run {folder}`"
        )
    return path


def read_checkpoint(path: StrPath) -> dict[str, Any]:
    """Read a checkpoint without unpickling anything but tensors and plain values.

    Raises:
        InputError: no such file, not a checkpoint, or not one of coldstart's.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all with the same meaning here
        raise InputError(f"{path}: not a checkpoint that can be read safely ({error})") from error
    recipe_in(checkpoint, str(path))
    return checkpoint


def recipe_in(checkpoint: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The recipe that rebuilds the checkpoint's model.

    Args:
        checkpoint: as it was read.
        name: of the checkpoint, for an error.

    Raises:
        InputError: it isn't coldstart's, or of another version.
    """
    recipe: Mapping[str, Any] = checkpoint.get("coldstart", {})
    same_version(recipe, f"{name}: not a checkpoint")
    return recipe


def same_version(recipe: Mapping[str, Any], what: str) -> None:
    """Raise InputError unless a recipe is of this version; `what` begins the message.

    >>> same_version({"version": 1}, "a.ckpt: not a checkpoint")
    >>> same_version({}, "b.ckpt: not a checkpoint")
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: b.ckpt: not a checkpoint of coldstart's version 1 (it says nothing)
    """
    if recipe.get("version") != VERSION:
        raise InputError(
            f"{what} of coldstart's version {VERSION} (it says {recipe.get('version', 'nothing')})"
        )


def weights_id(model: nn.Module) -> str:
    """A hash of all weights; the results of a test have it, to say which model was tested."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
