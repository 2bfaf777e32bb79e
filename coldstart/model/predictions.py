"""Outputs by track: collecting pieces into tracks, and the `predictions/` folder of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from coldstart.data.batch import Batch
from coldstart.errors import InputError
from coldstart.files import StrPath, atomic_folder
from coldstart.model.net import Net
from coldstart.tables import write_table


class Predictions(NamedTuple):
    """One vector a track.

    Attributes:
        track_ids: N ids.
        values: [N, K].
    """

    track_ids: list[str]
    values: Tensor

    def save(self, folder: StrPath, tracks: Sequence[dict[str, Any]]) -> None:
        """Write vectors.safetensors, and tracks.parquet with what is known of each row's track.

        Never one without the other.
        """
        about = {track["track_id"]: track for track in tracks}
        rows = [about[track] for track in self.track_ids]
        with atomic_folder(folder) as new:
            save_file({"vectors": self.values.contiguous()}, new / "vectors.safetensors")
            write_table(new / "tracks.parquet", pl.DataFrame(rows, infer_schema_length=None))

    @classmethod
    def load(cls, folder: StrPath) -> Predictions:
        """Read what `save` wrote."""
        values = load_file(Path(folder) / "vectors.safetensors")["vectors"]
        ids = pl.read_parquet(Path(folder) / "tracks.parquet")["track_id"].to_list()
        return cls(ids, values)


class TrackMeans:
    """Averages the outputs of a track's pieces; memory grows with tracks, not with pieces.

    >>> means = TrackMeans()
    >>> means.add(["a", "a", "b"], torch.tensor([[0.0], [4.0], [5.0]]))
    >>> means.done()
    Predictions(track_ids=['a', 'b'], values=tensor([[2.],
            [5.]]))
    """

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.sums: list[Tensor] = []
        self.counts: list[int] = []

    def add(self, track_ids: Sequence[str], values: Tensor) -> None:
        """Add a batch: B ids, [B, K]."""
        for track, value in zip(track_ids, values.float().cpu(), strict=True):
            row = self.seen.setdefault(track, len(self.sums))
            if row == len(self.sums):
                self.sums.append(value.clone())
                self.counts.append(1)
            else:
                self.sums[row] += value
                self.counts[row] += 1

    def take(self, leave: Collection[str]) -> Predictions | None:
        """Take out the means of all tracks but these, of which pieces are still to come."""
        taken, left = TrackMeans(), TrackMeans()
        for track, row in self.seen.items():
            to = left if track in leave else taken
            to.seen[track] = len(to.sums)
            to.sums.append(self.sums[row])
            to.counts.append(self.counts[row])
        self.seen, self.sums, self.counts = left.seen, left.sums, left.counts
        return taken.done() if taken.seen else None

    def done(self) -> Predictions:
        """The means, in the order in which tracks first came.

        Raises:
            InputError: nothing came.
        """
        if not self.sums:
            raise InputError("no track of these shards has any of what the model reads")
        values = torch.stack(self.sums) / torch.tensor(self.counts)[:, None]
        return Predictions(list(self.seen), values)


def joined(parts: Sequence[Predictions], tracks: Sequence[Mapping[str, Any]]) -> Predictions:
    """Predictions of several sets of tracks as one, in the order of these tracks.

    So what is made of it doesn't hang on how many processes there were.

    Raises:
        InputError: there is nothing.
    """
    if not parts:
        TrackMeans().done()  # says so
    ids = [track for part in parts for track in part.track_ids]
    place = {track["track_id"]: i for i, track in enumerate(tracks)}
    order = sorted(range(len(ids)), key=lambda row: place[ids[row]])
    values = torch.cat([part.values for part in parts])
    return Predictions([ids[row] for row in order], values[order])


class OnePiece:
    """Keeps one piece of each track, drawn at random: what a single patch gives.

    The draw hangs on the track and the piece's number alone, so it is the same however many
    processes read the data.

    >>> drawn = OnePiece()
    >>> drawn.add(["a", "b"], torch.tensor([[1.0], [2.0]]))
    >>> drawn.done().values.tolist()
    [[1.0], [2.0]]
    """

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}
        self.best: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    def add(self, track_ids: Sequence[str], values: Tensor) -> None:
        """Add a batch: B ids, [B, K]."""
        for track, value in zip(track_ids, values.float().cpu(), strict=True):
            number = self.seen[track] = self.seen.get(track, 0) + 1
            lot = crc32(f"{track}/{number}".encode())
            if lot >= self.best.get(track, 0):
                self.best[track], self.kept[track] = lot, value.clone()

    def done(self) -> Predictions:
        """One vector a track, in the order in which tracks first came."""
        return Predictions(list(self.kept), torch.stack(list(self.kept.values())))


def by_track(batches: Iterable[Batch], output: Callable[[Batch], Tensor]) -> Predictions:
    """Run a function over batches and average its outputs by track."""
    means = TrackMeans()
    with torch.inference_mode():
        for batch in batches:
            means.add(batch.track_ids, output(batch))
    return means.done()


def predicted(model: Net, batches: Iterable[Batch]) -> Predictions:
    """A model's outputs by track, in eval mode, computed where the model is.

    Tracks that have none of the model's inputs are left out.

    Raises:
        InputError: that leaves none.
    """
    means, training = TrackMeans(), model.training
    model.eval()
    try:
        # Not inference_mode: a net that keeps tables of its own may be trained again afterwards.
        with torch.no_grad():
            for batch in tqdm(batches, desc="predicting", unit="batch", file=sys.stderr):
                outputs = model.predict_step(move_data_to_device(batch, model.device))
                means.add(outputs.track_ids, outputs.values)
    finally:
        model.train(training)
    return means.done()


def as_array(values: Tensor) -> np.ndarray[Any, Any]:
    """A float32 array on the CPU."""
    return values.detach().float().cpu().numpy()
