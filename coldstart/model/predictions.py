"""Outputs by track: from pieces to tracks, and the `predictions/` folder of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
import torch
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.errors import InputError
from coldstart.files import StrPath, atomic_folder, write_json
from coldstart.forms.arrays import ArrayForm, read_arrays, write_arrays
from coldstart.forms.checksums import check_checksums, write_checksums
from coldstart.model.net import Net
from coldstart.reporting.progress import tracked
from coldstart.tables.stored import read_stored
from coldstart.tables.table import write_table

MADE_FROM = "made_from.json"
"""In a folder of predictions: what they depend on."""

FILES = ("vectors.safetensors", "tracks.parquet")

NO_TRACKS = "no track of these shards has any of what the model reads"


class Predictions(NamedTuple):
    """One vector a track.

    Attributes:
        track_ids: N ids.
        values: [N, K].
    """

    track_ids: list[str]
    values: Tensor

    def save(
        self,
        folder: StrPath,
        tracks: Sequence[dict[str, Any]],
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        """Write vectors.safetensors, and tracks.parquet with the track of each row.

        All files or none are written.

        Args:
            folder: to write to.
            tracks: of the dataset, with whatever it says about each; text is kept.
            made_from: what the vectors depend on, for made_from.json.
        """
        by_id = {track["track_id"]: track for track in tracks}
        others = {n for track in tracks for n, value in track.items() if not _is_text(value)}
        names = dict.fromkeys(name for track in tracks for name in track if name not in others)
        rows = [{name: by_id[track].get(name) for name in names} for track in self.track_ids]
        with atomic_folder(folder) as new:
            write_arrays(new / "vectors.safetensors", {"vectors": as_array(self.values)})
            write_table(new / "tracks.parquet", pl.DataFrame(rows, dict.fromkeys(names, pl.String)))
            write_checksums(new, FILES)
            if made_from is not None:
                write_json(new / MADE_FROM, made_from)

    @classmethod
    def load(cls, folder: StrPath) -> Predictions:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing, damaged, or doesn't belong to the other.
        """
        remedy = f"remove {folder}, and predict again (`coldstart predict --run RUN`)"
        columns = {"track_id": pl.String}
        tracks = read_stored(Path(folder) / "tracks.parquet", columns, "track_id", remedy)
        form = {"vectors": ArrayForm("F32", ("tracks", "numbers"))}
        path = Path(folder) / "vectors.safetensors"
        values = read_arrays(path, form, {"tracks": len(tracks)}, remedy)["vectors"]
        check_checksums(Path(folder), FILES, remedy)
        return cls(tracks["track_id"].to_list(), torch.from_numpy(values))


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


class TrackMeans:
    """Averages the outputs of a track's pieces; memory grows with tracks, not with pieces.

    >>> means = TrackMeans()
    >>> means.add(["a", "a", "b"], torch.tensor([[0.0], [4.0], [5.0]]))
    >>> means.predictions()
    Predictions(track_ids=['a', 'b'], values=tensor([[2.],
            [5.]]))
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.sums: list[Tensor] = []
        self.counts: list[int] = []

    def add(self, track_ids: Sequence[str], values: Tensor) -> None:
        """Add a batch: B ids, [B, K]."""
        for track, value in zip(track_ids, values.float().cpu(), strict=True):
            row = self.rows.setdefault(track, len(self.sums))
            if row == len(self.sums):
                self.sums.append(value.clone())
                self.counts.append(1)
            else:
                self.sums[row] += value
                self.counts[row] += 1

    def __len__(self) -> int:
        """How many tracks there are so far."""
        return len(self.rows)

    def take(self, incomplete: Collection[str]) -> Predictions | None:
        """Remove and return the means of all tracks but these, whose pieces are not all read."""
        complete, rest = TrackMeans(), TrackMeans()
        for track, row in self.rows.items():
            destination = rest if track in incomplete else complete
            destination.rows[track] = len(destination.sums)
            destination.sums.append(self.sums[row])
            destination.counts.append(self.counts[row])
        self.rows, self.sums, self.counts = rest.rows, rest.sums, rest.counts
        return complete.predictions() if len(complete) else None

    def predictions(self) -> Predictions:
        """The means, in the order in which tracks were first added.

        Raises:
            InputError: there are no tracks.
        """
        if not self.sums:
            raise InputError(NO_TRACKS)
        values = torch.stack(self.sums) / torch.tensor(self.counts)[:, None]
        return Predictions(list(self.rows), values)


def join(parts: Sequence[Predictions], tracks: Sequence[Mapping[str, Any]]) -> Predictions:
    """Predictions of several sets of tracks as one, in the order of the dataset's tracks.

    So the result doesn't depend on the number of processes.

    Args:
        parts: one or more.
        tracks: of the dataset.

    Raises:
        InputError: there are no parts.
    """
    if not parts:
        raise InputError(NO_TRACKS)
    ids = [track for part in parts for track in part.track_ids]
    position = {track["track_id"]: i for i, track in enumerate(tracks)}
    order = sorted(range(len(ids)), key=lambda row: position[ids[row]])
    values = torch.cat([part.values for part in parts])
    return Predictions([ids[row] for row in order], values[order])


class OnePiece:
    """Keeps the output of one piece of each track, drawn at random.

    The draw depends on the track and the piece's number alone, so it is the same however many
    processes read the data.

    >>> single = OnePiece()
    >>> single.add(["a", "b"], torch.tensor([[1.0], [2.0]]))
    >>> single.predictions().values.tolist()
    [[1.0], [2.0]]
    """

    def __init__(self) -> None:
        self.outputs: dict[str, Tensor] = {}
        self.lots: dict[str, int] = {}  # the highest one of the track's pieces so far
        self.counts: dict[str, int] = {}

    def add(self, track_ids: Sequence[str], values: Tensor) -> None:
        """Add a batch: B ids, [B, K]."""
        for track, value in zip(track_ids, values.float().cpu(), strict=True):
            number = self.counts.get(track, 0) + 1
            self.counts[track] = number
            lot = crc32(f"{track}/{number}".encode())
            if lot >= self.lots.get(track, 0):
                self.lots[track] = lot
                self.outputs[track] = value.clone()

    def __len__(self) -> int:
        """How many tracks there are so far."""
        return len(self.outputs)

    def predictions(self) -> Predictions:
        """One vector for each track, in the order in which tracks were first added."""
        return Predictions(list(self.outputs), torch.stack(list(self.outputs.values())))


def by_track(batches: Iterable[Batch], output: Callable[[Batch], Tensor]) -> Predictions:
    """Run a function over batches and average its outputs by track."""
    means = TrackMeans()
    with torch.inference_mode():
        for batch in batches:
            means.add(batch.track_ids, output(batch))
    return means.predictions()


def predict_batches(model: Net, batches: Iterable[Batch]) -> Predictions:
    """A model's outputs by track, in eval mode, computed on the model's device.

    Tracks that have none of the model's inputs are left out.

    Raises:
        InputError: no track has any of them.
    """
    means, training = TrackMeans(), model.training
    model.eval()
    try:
        # Not inference_mode: a net that keeps tables of its own may be trained again afterwards.
        with torch.no_grad():
            for batch in tracked(batches, "predicting", "batches"):
                outputs = model.predict_step(batch.to(model.device))
                means.add(outputs.track_ids, outputs.values)
    finally:
        model.train(training)
    return means.predictions()


def as_array(values: Tensor) -> np.ndarray[Any, Any]:
    """The values as a float32 array on the CPU."""
    return values.detach().float().cpu().numpy()
