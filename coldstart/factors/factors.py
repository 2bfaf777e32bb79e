"""`Factors`: one vector a track, one a user; saved as safetensors and id tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, Axes
from coldstart.files import StrPath, atomic, local, write_json
from coldstart.tables.table import write_table

VERSION = 1


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
            with atomic(folder / f"{name}.safetensors") as temporary:
                save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, temporary)
        columns = {"track_id": self.track_ids, "split": self.split, "folded": self.folded}
        write_table(folder / "tracks.parquet", pl.DataFrame(columns))
        write_table(folder / "users.parquet", pl.DataFrame({"user_id": self.user_ids}))
        write_json(folder / "factors.json", self.about)

    @classmethod
    def load(cls, folder: StrPath) -> Factors:
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no factors, incomplete ones, or ones of another version.
        """
        folder = Path(folder)
        try:
            return cls._read(folder)
        except (OSError, LookupError, SafetensorError, pl.exceptions.PolarsError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{folder}: incomplete or damaged ({reason}); factorise again"
            ) from error

    @staticmethod
    def about_of(folder: StrPath) -> dict[str, Any]:
        """How a folder's factors were made, without reading the vectors.

        Raises:
            InputError: the folder holds no factors, or ones of another version.
        """
        path = Path(folder) / "factors.json"
        if not path.is_file():
            raise InputError(
                f"{folder}: no factors here (factors.json is missing); make them with "
                f"`coldstart factorize LISTENS --out {folder}`"
            )
        try:
            about: dict[str, Any] = json.loads(path.read_bytes())
            version = about["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not readable ({error})") from error
        if version != VERSION:
            raise InputError(f"{folder}: factors of version {version}, not {VERSION}")
        return about

    @classmethod
    def _read(cls, folder: Path) -> Factors:
        about = cls.about_of(folder)
        vectors = load_file(folder / "factors.safetensors")
        folded = load_file(folder / "folded.safetensors")["tracks"]
        listens = load_file(folder / "listens.safetensors")
        withheld = load_file(folder / "withheld.safetensors") if about.get("withheld") else None
        axes, support = (
            load_file(path) if path.is_file() else None
            for path in (folder / "axes.safetensors", folder / "support.safetensors")
        )
        tracks = pl.read_parquet(folder / "tracks.parquet")
        users = pl.read_parquet(folder / "users.parquet")["user_id"].to_list()
        mask = tracks["folded"].to_numpy()
        lengths = {
            "users": (len(vectors["users"]), len(users)),
            "tracks": (len(vectors["tracks"]), (~mask).sum()),
            "folded": (len(folded), mask.sum()),
            "listens": (len(listens["indptr"]), len(users) + 1),
        }
        if withheld:
            lengths["withheld"] = (len(withheld["indptr"]), len(users) + 1)
        if support:
            lengths["support"] = (len(support["listeners"]), len(tracks))
        if any(actual != expected for actual, expected in lengths.values()):
            raise InputError(f"{folder}: vectors and ids don't match in number; factorise again")
        return cls(
            track_ids=tracks["track_id"].to_list(),
            user_ids=users,
            tracks=np.concatenate([vectors["tracks"], folded]),
            users=vectors["users"],
            folded=mask,
            split=tracks["split"].to_numpy().astype(str),
            listens=_sparse(listens, len(users), len(tracks)),
            about=about,
            withheld=_sparse(withheld, len(users), len(tracks)) if withheld else None,
            axes=Axes(axes["tracks"], axes["users"]) if axes else None,
            support=support["listeners"] if support else None,
        )


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


def _sparse(arrays: dict[str, Any], users: int, tracks: int) -> csr_matrix:
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    return csr_matrix(parts, shape=(users, tracks))
