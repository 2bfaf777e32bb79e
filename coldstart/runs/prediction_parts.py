"""A run's vectors of all tracks, in pieces: on several machines, each of which reads its shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from coldstart.errors import InputError
from coldstart.files import atomic, fingerprint
from coldstart.model.predictions import NO_TRACKS, Predictions, as_array, join
from coldstart.processes import JobPart, PartDone
from coldstart.runs.pieces import begin_job, must_be_complete, piece_path, pieces_folder
from coldstart.runs.predictions import complete, made_from, predict_tracks
from coldstart.runs.run import Run, vectors_folder
from coldstart.shards.format import Place, place_of

PIECES, LARGEST = 64, 64
"""So many pieces, unless each would be of more shards than `LARGEST`."""


class VectorPiece(NamedTuple):
    """A piece of a run's vectors.

    Attributes:
        path: where it is kept until all are there.
        places: the shards whose tracks it has.
    """

    path: Path
    places: list[Place]


def predict_part(run: Run, part: JobPart) -> PartDone:
    """Write this part's pieces of the vectors that `predict_whole` joins; what is there stays.

    Raises:
        InputError: pieces of another model or dataset lie there.
    """
    folder, pieces = _begun(run, shared=True)
    mine = part.share(pieces)
    missing = [piece for piece in mine if not piece.path.is_file()]
    for piece in missing:
        write_vectors(run, piece)
    return PartDone(part, folder, len(mine), len(missing), len(pieces))


def predict_whole(
    run: Run,
    merge: bool = False,
    spread: Callable[[list[VectorPiece]], object] | None = None,
) -> Path:
    """Join the pieces of a run's vectors into its folder `predictions`.

    Args:
        run: a fitted run.
        merge: all pieces are there, by `predict_part`: else it is an error.
        spread: writes pieces on other machines; by default this one does.

    Returns:
        The folder.

    Raises:
        InputError: a piece is missing, or no track has any of the model's inputs.
    """
    parts, pieces = _begun(run, shared=merge)
    if merge:
        named = [f"that of shard {place_of(*piece.places[0])}" for piece in pieces]
        must_be_complete([piece.path for piece in pieces], named)
    missing = [piece for piece in pieces if not piece.path.is_file()]
    if spread is not None:
        spread(missing)
    else:
        for piece in missing:
            write_vectors(run, piece)
    shards = run.data.shards
    tracks = shards.tracks_in_use()
    predictions = join(_non_empty(_read(piece.path) for piece in pieces), tracks)
    hidden = sorted(shards.removed.difference(predictions.track_ids))
    folder = vectors_folder(run.folder, shards)
    predictions.save(folder, tracks, made_from(run.model, run.data) | {"without": hidden})
    shutil.rmtree(parts)
    return folder


def write_vectors(run: Run, piece: VectorPiece, device: torch.device | None = None) -> int:
    """Predict the tracks of a piece's shards, and write it whole or not at all.

    Args:
        run: a fitted run.
        piece: to be written.
        device: that computes; None: a GPU if there is one.

    Returns:
        How many tracks have a vector.
    """
    shards = run.data.shards
    ids = {
        track["track_id"]
        for place in piece.places
        for track in shards.tracks(*place)
        if shards.is_in_use(track["track_id"], *place)
    }
    try:
        predictions = predict_tracks(run, ids, device)
    except InputError as error:
        if str(error) != NO_TRACKS:
            raise
        predictions = Predictions([], torch.zeros(0, run.model.target.dim))
    vectors = np.ascontiguousarray(as_array(predictions.values))
    table = pl.DataFrame(
        {"track_id": predictions.track_ids, "vector": vectors},
        {"track_id": pl.String, "vector": pl.Array(pl.Float32, vectors.shape[1])},
    )
    with atomic(piece.path) as temporary:
        table.write_parquet(temporary)
    return len(table)


def _begun(run: Run, shared: bool) -> tuple[Path, list[VectorPiece]]:
    """The folder of the pieces, which keeps those of this model and data alone, and all pieces."""
    complete(run)
    shards = run.data.shards
    folder = pieces_folder(vectors_folder(run.folder, shards))
    begin_job(folder, fingerprint(made_from(run.model, run.data), sorted(shards.removed)), shared)
    places = [(s, n) for s in shards.split_names for n in range(len(shards.shard_sizes(s)))]
    size = max(1, min(LARGEST, -(-len(places) // PIECES)))
    pieces = [
        VectorPiece(piece_path(folder, number), places[first : first + size])
        for number, first in enumerate(range(0, len(places), size))
    ]
    return folder, pieces


def _read(path: Path) -> Predictions:
    table = pl.read_parquet(path)
    return Predictions(table["track_id"].to_list(), torch.tensor(table["vector"].to_numpy()))


def _non_empty(parts: Iterable[Predictions]) -> Sequence[Predictions]:
    return [part for part in parts if part.track_ids]
