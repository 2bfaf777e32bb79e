"""Checkpoints on disk: the path of a run's best one, and reading one without unpickling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from coldstart.errors import InputError, one_line
from coldstart.files import MISSING, StrPath, unusable
from coldstart.forms.content import (
    anything,
    at_least,
    must_have_form,
    or_none,
    record,
    table_of,
    text,
    whole,
)

LAST = "last.ckpt"
"""The state from which a fit is resumed, in a run's `checkpoints/`."""

VERSION = 1
"""Version of the recipe that rebuilds a model; see `Net.recipe`."""

_PART = record({"class": text, "init_args": table_of(anything)}, others=True)

RECIPE = record(
    {
        "version": whole,
        "encoders": table_of(_PART),
        "fusion": _PART,
        "target": _PART,
        "facts": table_of(table_of(anything)),
        "fitted_on": record({}, dict.fromkeys(("folds", "fold"), or_none(whole)), others=True),
    },
    others=True,
)
"""The form of a recipe."""


def _tensor(value: Any) -> str:
    good = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
    # Of values that share their memory there could be any number.
    good = good and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    return "" if good else ": no tensor of weights"


CHECKPOINT = record(
    {
        "state_dict": table_of(_tensor),
        "epoch": at_least(0, whole),
    },
    {"global_step": at_least(0, whole)},
    others=True,
)
"""The form of what a checkpoint holds beside the recipe, as far as we read it."""


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
    if reason := unusable(path):
        reason = "there is no such checkpoint" if reason == MISSING else reason.partition(";")[0]
        raise InputError(f"{path}: {reason}")
    try:
        _check_sums(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all with the same meaning here
        reason = one_line(error)[:300]
        raise InputError(f"{path}: not a checkpoint that can be read safely ({reason})") from error
    recipe_in(checkpoint, str(path))
    must_have_form(checkpoint, CHECKPOINT, path, "copy it again, or fit the model anew")
    check_weights(checkpoint["state_dict"], str(path))
    return checkpoint


def _check_sums(path: Path) -> None:
    """Raise an error if a bit has changed: torch stores checksums, and ignores them.

    A checkpoint is a zip archive of uncompressed members.
    """
    with ZipFile(path) as archive:
        if any(member.compress_type != ZIP_STORED for member in archive.infolist()):
            raise BadZipFile("it is compressed, as checkpoints never are")
        if (wrong := archive.testzip()) is not None:
            raise BadZipFile(f"damaged: the checksum of '{wrong}' isn't that of its content")


def check_weights(weights: Mapping[str, Any], name: str) -> None:
    """Raise InputError unless all weights are finite.

    Args:
        weights: name → tensor.
        name: of the file, for the message.
    """
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(
                f"{name}: the weights '{key}' hold values that are no finite numbers: the file is "
                "damaged, or the fit has diverged; copy it again, or fit anew with a smaller "
                "learning rate"
            )


def recipe_in(checkpoint: Any, name: str) -> Mapping[str, Any]:
    """The recipe that rebuilds the checkpoint's model.

    Args:
        checkpoint: as it was read.
        name: of the checkpoint, for an error.

    Raises:
        InputError: it isn't coldstart's, of another version, or not of the form of a recipe.
    """
    recipe = checkpoint.get("coldstart") if isinstance(checkpoint, Mapping) else None
    return checked_recipe(recipe, f"{name}: not a checkpoint", name)


def checked_recipe(recipe: Any, what: str, name: str) -> Mapping[str, Any]:
    """The recipe, if it is one of this version; `what` begins the message about another version.

    Raises:
        InputError: it isn't.
    """
    found: Mapping[str, Any] = recipe if isinstance(recipe, Mapping) else {}
    same_version(found, what)
    must_have_form(found, RECIPE, name, "it describes no model: copy it again, or make it anew")
    return found


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
