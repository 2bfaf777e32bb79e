"""`Factors`: one vector a track, one a user; saved as safetensors and id tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, Axes
from coldstart.factors.listening import NOTHING, Listening
from coldstart.files import MISSING, StrPath, local, unusable, write_json
from coldstart.forms.arrays import ArrayForm, read_arrays, write_arrays
from coldstart.forms.checksums import check_checksums, write_checksums
from coldstart.forms.content import (
    at_least,
    json_in,
    list_of,
    moment,
    must_have_form,
    number,
    one_of_these,
    record,
    text,
    whole,
)
from coldstart.tables.stored import read_stored
from coldstart.tables.table import write_table

VERSION = 1

REMEDY = "factorise again, or copy the folder again"

_count = at_least(0, whole)

ABOUT = record(
    {
        "version": whole,
        "protocol": text,
        "algorithm": one_of_these("implicit", "explicit"),
        "factors": at_least(1, whole),
        "regularization": at_least(0),
    },
    {
        "id": text,
        "shrinkage": at_least(0),
        "iterations": at_least(1, whole),
        "weighting": one_of_these("log", "linear"),
        "alpha": at_least(0),
        "axes": one_of_these("als", "scores"),
        "seed": whole,
        "listens": _count,
        "users": _count,
        "users_without_training_listens": _count,
        "tracks_factorised": _count,
        "tracks_folded_in": _count,
        "listens_of_unknown_tracks": _count,
        "first_listen": moment,
        "last_listen": moment,
        "until": moment,
        "hold_out": at_least(0),
        "withheld": _count,
        "min_seconds": at_least(0),
        "updates": _count,
    },
    others=True,
)
"""The form of factors.json; `mean` is as long as `factors` says."""

TRACKS = {"track_id": pl.String, "split": pl.String, "folded": pl.Boolean}
USERS = {"user_id": pl.String}

_SPARSE = {
    "indptr": ArrayForm("I64", ("users and one",)),
    "indices": ArrayForm("I32", ("listens",)),
    "data": ArrayForm("F32", ("listens",)),
}

FORMS = {
    "factors": {
        "tracks": ArrayForm("F32", ("factorised tracks", "factors")),
        "users": ArrayForm("F32", ("users", "factors")),
    },
    "folded": {"tracks": ArrayForm("F32", ("folded-in tracks", "factors"))},
    "listens": _SPARSE,
    "withheld": {
        **_SPARSE,
        **{name: ArrayForm(_SPARSE[name].dtype, ("withheld",)) for name in ("indices", "data")},
    },
    "axes": {
        "tracks": ArrayForm("F64", ("factors", "factors")),
        "users": ArrayForm("F64", ("factors", "factors")),
    },
    "support": {"listeners": ArrayForm("I64", ("tracks",))},
}
"""File → its arrays."""


@dataclass(frozen=True)
class Factors:
    """Vectors of tracks and users in one collaborative-filtering space.

    Attributes:
        track_ids: N ids; first those that were factorised, then the folded-in ones.
        user_ids: U ids.
        tracks: [N, K] float32.
        users: [U, K] float32.
        folded: [N] bool: solved afterwards from the track's own plays with the users fixed. Such a
            vector is the truth for a held-out track, never an input to training.
        split: [N] of train, val, test, or "" where no split was given.
        listens: [U, N] sparse plays (or ratings), held-out tracks included.
        about: how the factors were made, as in factors.json.
        withheld: [U, N] sparse plays (or ratings) of factorised tracks that are neither in
            `listens` nor used for the vectors; None if there are none.
        axes: from the factorisation's own axes to those of the vectors; None if they are the same,
            or if an earlier version made the factors.
        support: see `listeners`; None where all users with a vector count.
        narrow: what `model_space` made these from; None of factors as they are stored.
        listening: what a model knows of listeners, by which it was done; nothing of stored ones.
    """

    track_ids: list[str]
    user_ids: list[str]
    tracks: Array
    users: Array
    folded: NDArray[np.bool_]
    split: NDArray[np.str_]
    listens: csr_matrix
    about: dict[str, Any]
    withheld: csr_matrix | None = None
    axes: Axes | None = None
    support: NDArray[np.int64] | None = None
    narrow: Factors | None = None
    listening: Listening = NOTHING

    @property
    def kept(self) -> float:
        """Share of a score that the vectors have beside places on listeners' own axes."""
        axes = self.listening.axes
        return 1.0 if axes is None else 1 - axes.share

    @property
    def dim(self) -> int:
        """K, the number of factors."""
        return int(self.tracks.shape[1])

    @cached_property
    def row(self) -> dict[str, int]:
        """Track id → row of `tracks` (column of `listens`)."""
        return {track: row for row, track in enumerate(self.track_ids)}

    @cached_property
    def plays(self) -> NDArray[np.float64]:
        """[N] plays in the log, also of held-out tracks."""
        return np.asarray(self.listens.sum(axis=0), dtype=np.float64).ravel()

    @cached_property
    def listeners(self) -> NDArray[np.int64]:
        """[N] number of listeners whose plays a track's vector was solved from; 0: it is zero.

        After an update, those who have a vector in the factorisation; plays of users who came
        later count in `plays` alone.
        """
        if self.support is not None:
            return self.support
        return supporting_listeners(self.listens, self.users)

    def rows(self, track_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of these tracks, -1 where a track has no vector (nobody played it)."""
        return np.array([self.row.get(track, -1) for track in track_ids], dtype=np.int64)

    def save(self, folder: StrPath) -> None:
        """Write the folder; `about` gets the id of this space."""
        # Vectors of two factorisations can't be compared: a model stores this id.
        space = hashlib.sha256(self.tracks[~self.folded].tobytes() + self.users.tobytes())
        self.about["id"] = space.hexdigest()[:16]
        self.write(folder)

    def write(self, folder: StrPath) -> None:
        """Write the folder, with the id as it is in `about`; `factors.json` comes last."""
        folder = local(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "factors.json").unlink(missing_ok=True)
        parts: dict[str, dict[str, Any]] = {
            "factors": {"tracks": self.tracks[~self.folded], "users": self.users},
            "folded": {"tracks": self.tracks[self.folded]},
            "listens": _arrays(self.listens),
        }
        if self.withheld is not None:
            parts["withheld"] = _arrays(self.withheld)
        if self.axes is not None:
            parts["axes"] = self.axes._asdict()
        if self.support is not None:
            parts["support"] = {"listeners": self.support}
        for name in ("withheld", "axes", "support"):
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
        for name, arrays in parts.items():
            write_arrays(folder / f"{name}.safetensors", arrays)
        columns = {"track_id": self.track_ids, "split": self.split, "folded": self.folded}
        write_table(folder / "tracks.parquet", pl.DataFrame(columns))
        write_table(folder / "users.parquet", pl.DataFrame({"user_id": self.user_ids}))
        names = [f"{name}.safetensors" for name in parts]
        write_checksums(folder, ["tracks.parquet", "users.parquet", *names])
        write_json(folder / "factors.json", self.about)

    @classmethod
    def load(cls, folder: StrPath) -> Factors:
        """Read what `save` wrote.

        All of it is checked here, once, so that no reader of factors needs to.

        Raises:
            InputError: the folder holds no factors, ones of another version, or a file that is
                incomplete, damaged, or doesn't belong to the others.
        """
        folder = Path(folder)
        about = cls.about_of(folder)
        tracks = read_stored(folder / "tracks.parquet", TRACKS, "track_id", REMEDY)
        users = read_stored(folder / "users.parquet", USERS, "user_id", REMEDY)["user_id"]
        folded = tracks["folded"].to_numpy()
        split = tracks["split"].to_numpy().astype(str)
        if folded.all() or (folded[:-1] > folded[1:]).any() or (split[folded] == "train").any():
            raise InputError(
                f"{folder / 'tracks.parquet'}: no track was factorised, or one that was folded in "
                f"stands before those, or is a training track; {REMEDY}"
            )
        lengths = {
            "factors": about["factors"],
            "factorised tracks": int((~folded).sum()),
            "folded-in tracks": int(folded.sum()),
            "tracks": len(tracks),
            "users": len(users),
            "users and one": len(users) + 1,
        }

        read = ["tracks.parquet", "users.parquet"]

        def arrays(name: str) -> dict[str, Any]:
            read.append(f"{name}.safetensors")
            return read_arrays(folder / read[-1], FORMS[name], lengths, REMEDY)

        def optional(name: str) -> dict[str, Any] | None:
            return arrays(name) if (folder / f"{name}.safetensors").exists() else None

        vectors, shape = arrays("factors"), (len(users), len(tracks))
        withheld = arrays("withheld") if about.get("withheld") else None
        axes, support = optional("axes"), optional("support")
        loaded = cls(
            track_ids=tracks["track_id"].to_list(),
            user_ids=users.to_list(),
            tracks=np.concatenate([vectors["tracks"], arrays("folded")["tracks"]]),
            users=vectors["users"],
            folded=folded,
            split=split,
            listens=_sparse(arrays("listens"), shape, folder / "listens.safetensors"),
            about=about,
            withheld=_sparse(withheld, shape, folder / "withheld.safetensors")
            if withheld
            else None,
            axes=Axes(axes["tracks"], axes["users"]) if axes else None,
            support=support["listeners"] if support else None,
        )
        check_checksums(folder, read, REMEDY)
        return loaded

    @staticmethod
    def about_of(folder: StrPath) -> dict[str, Any]:
        """How a folder's factors were made, without reading the vectors.

        Raises:
            InputError: the folder holds no factors, or ones of another version.
        """
        path = Path(folder) / "factors.json"
        if unusable(path) == MISSING:
            raise InputError(
                f"{folder}: no factors here (factors.json is missing); make them with "
                f"`coldstart factorize LISTENS --out {folder}`"
            )
        about = json_in(path, REMEDY)
        must_have_form(about, record({"version": whole}, others=True), path, REMEDY)
        if about["version"] != VERSION:
            raise InputError(f"{folder}: factors of version {about['version']}, not {VERSION}")
        must_have_form(about, ABOUT, path, REMEDY)
        scale = {"mean": list_of(number, about["factors"]), "spread": at_least(0)}
        if scale.keys() & about.keys():  # the oldest factors have neither
            must_have_form(about, record(scale, others=True), path, REMEDY)
        return dict(about)


def supporting_listeners(listens: csr_matrix, users: Array) -> NDArray[np.int64]:
    """[N] number of users in each column of `listens` [U, N] whose vector [U, K] isn't zero."""
    rows = np.flatnonzero(users.any(axis=1))
    return np.asarray(listens[rows].getnnz(axis=0), dtype=np.int64)


def _arrays(matrix: csr_matrix) -> dict[str, Any]:
    return {
        "indptr": matrix.indptr.astype(np.int64),
        "indices": matrix.indices.astype(np.int32),
        "data": matrix.data.astype(np.float32),
    }


def _sparse(arrays: dict[str, Any], shape: tuple[int, int], path: Path) -> csr_matrix:
    """The matrix of these arrays; scipy, and `implicit`, read wherever an index points to."""
    data, indices, indptr = arrays["data"], arrays["indices"], arrays["indptr"]
    good = indptr[0] == 0 and indptr[-1] == len(indices)
    good = good and bool((indptr[1:] >= indptr[:-1]).all())
    if not good or (len(indices) and (indices.min() < 0 or indices.max() >= shape[1])):
        raise InputError(
            f"{path}: damaged (it points to listens or tracks that don't exist); {REMEDY}"
        )
    return csr_matrix((data, indices, indptr), shape=shape)
