"""All listeners' vectors in a run's space: solved, and where that takes long, stored."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from coldstart.errors import InputError
from coldstart.factors.als import Array
from coldstart.factors.factors import Factors
from coldstart.factors.model_space import in_model_space, users_in
from coldstart.files import is_write_refused
from coldstart.forms.arrays import ArrayForm, read_arrays, write_arrays
from coldstart.model.checkpoint import weights_id
from coldstart.runs.run import Run

log = logging.getLogger(__name__)

LONG = 2e10
"""Users × factors², from which on solving takes more than a few seconds."""

FOLDER = "listeners"
"""In a run's folder: a file, whose name is a hash of what its vectors were solved from."""

FORM = {"users": ArrayForm("F32", ("users", "factors"))}


def space_of(run: Run, factors: Factors) -> Factors:
    """The factors in the space of a run's model.

    Where listeners' vectors take long, they are stored in the run, if it can be written to.

    Args:
        run: the run.
        factors: its own, with all listens since.

    Raises:
        InputError: the model was fitted to other factors.
    """
    listening = run.model.listening
    if listening.content is None or len(factors.users) * factors.dim**2 < LONG:
        return in_model_space(factors, listening)
    path = run.folder / FOLDER / f"{_digest(run, factors)}.safetensors"
    users = _stored(path, factors)
    if users is None:
        log.info(f"solving the vectors of {len(factors.users):,} listeners, once for this log")
        users = users_in(factors, listening)
        _keep(path, users)
    return in_model_space(factors, listening, users)


def _digest(run: Run, factors: Factors) -> str:
    """Of all that the vectors depend on."""
    digest = hashlib.blake2b(weights_id(run.model).encode(), digest_size=16)
    listens = factors.listens
    for part in (listens.indptr, listens.indices, listens.data, factors.users):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _stored(path: Path, factors: Factors) -> Array | None:
    """The vectors that were solved from the same."""
    if not path.is_file():
        return None
    lengths = {"users": len(factors.users), "factors": factors.dim}
    try:
        return read_arrays(path, FORM, lengths, "it is made anew")["users"]
    except InputError as error:
        log.warning(str(error))
        return None


def _keep(path: Path, users: Array) -> None:
    """Store them, in the place of those of an earlier log."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, {"users": users})
        for other in path.parent.glob("*.safetensors"):
            if other != path:
                other.unlink(missing_ok=True)
    except OSError as error:
        if not is_write_refused(error):
            raise
        log.info(f"{path}: can't be written to")
