"""A dataset and its factors → batches, without Lightning: what only reads needs none.

Two ways, chosen by what the model reads. Small modalities (attributes, genres) are read once, kept
in memory and batched by index. Large ones (audio) are streamed by worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from coldstart.data.artist_tracks import ArtistTracks
from coldstart.data.batch import Batch, Lent
from coldstart.data.epochs import Position, counted
from coldstart.data.folds import Keep, Lacks
from coldstart.data.loaders import Request, loader_of
from coldstart.data.pipeline import Pipeline
from coldstart.errors import InputError, one_of
from coldstart.factors.factors import Factors
from coldstart.factors.model_space import in_model_space
from coldstart.sample import Sample, folder_of
from coldstart.shards.reading import Shards
from coldstart.shards.track_columns import TRACK
from coldstart.tables.splits import NEW, read_ids
from coldstart.targets.track_factors import FACTORS


class TrackData:
    """Shards, and the factors to be predicted from them, as batches."""

    def __init__(
        self,
        shards: str = "shards",
        factors: str | None = "factors",
        batch_size: int = 64,
        workers: int = 2,
        shuffle_buffer: int = 128,
        memory_mb: int = 4000,
        folds: int | None = None,
        fold: int | None = None,
        test_tracks: str | None = None,
        missing: float = 0.0,
        drop: list[str] | None = None,
    ) -> None:
        """Data for fit, validate, test and predict.

        Args:
            shards: folder written by `coldstart shard`.
            factors: folder written by `coldstart factorize`; null if the target isn't factors.
            batch_size: tracks (or patches of tracks) in a batch, on each GPU.
            workers: loader processes on each GPU, for streamed modalities; at most one a shard.
            shuffle_buffer: streamed tracks that a worker holds to shuffle, still encoded.
            memory_mb: modalities that aren't streamed by nature are kept in memory up to this
                size, and streamed beyond it.
            folds: with `fold`, tracks are divided into this many folds by a hash of their id.
            fold: this fold's tracks are held out of training and validation.
            test_tracks: table with a column track_id: of the test tracks, only these are tested.
            missing: treat this share of the tracks, drawn for each encoder by a hash of their ids,
                as if they lacked what it reads, in training and testing: an experiment. It is
                content that is missing: what comes from the track list, such as who made a track,
                stays.
            drop: treat all tracks as if they lacked what these encoders read.
        """
        super().__init__()
        if (folds is None) != (fold is None) or (folds is not None and not 0 <= fold < folds):  # type: ignore[operator]
            raise InputError("data: folds and fold belong together, and fold is 0 … folds − 1")
        if batch_size < 1 or workers < 0 or shuffle_buffer < 1:
            raise InputError("data: batch_size ≥ 1, workers ≥ 0, shuffle_buffer ≥ 1 are needed")
        if not 0 <= missing < 1:
            raise InputError(f"data: missing is a share from 0 to below 1, not {missing}")
        self.missing, self.drop = missing, frozenset(drop or ())
        self.shards, self.batch_size, self.workers = Shards(shards), batch_size, workers
        self.factors = Factors.load(factors) if factors is not None else None
        self.shuffle_buffer, self.memory_mb = shuffle_buffer, memory_mb
        self.folds, self.fold = folds, fold
        self.candidates = None if test_tracks is None else frozenset(read_ids(test_tracks))
        self._lent: Lent | None = None
        self._space: Factors | None = None
        if self.factors is not None:
            _same_splits(self.shards, self.factors)

    def info(self, folder: str) -> Mapping[str, Any]:
        """Facts of a modality, or of the factors; of the track list there are none.

        Raises:
            InputError: the dataset doesn't have it.
        """
        if folder == folder_of(FACTORS):
            return self.known_factors().about
        if folder == TRACK and folder not in self.shards.modalities:
            return {}
        return self.shards.info(folder)

    def has(self, folder: str) -> bool:
        """Whether there is such a modality; for the factors, whether they are named."""
        if folder == folder_of(FACTORS):
            return self.factors is not None
        return folder in self.shards.modalities

    def known_factors(self) -> Factors:
        """The factors.

        Raises:
            InputError: `factors` is null.
        """
        if self.factors is None:
            raise InputError("data.factors is null, but factors are needed here; name a folder")
        return self.factors

    def space(self) -> Factors:
        """The factors in the model's space: with whatever axes that has beside theirs.

        Raises:
            InputError: `factors` is null.
        """
        if self._space is None:
            self._space = in_model_space(self.known_factors(), self._readers().listening)
        return self._space

    def training_samples(self, fields: Sequence[str]) -> Iterator[Sample]:
        """Training tracks that have any of these fields, without the held-out fold."""
        keep = Keep(self.folds, self.fold)
        for number in range(len(self.shards.shard_sizes("train"))):
            for sample in self.shards.samples("train", number, fields):
                if keep(sample["track_id"]) and any(field in sample for field in fields):
                    yield sample

    def lend(self, lent: Lent) -> None:
        """Take the model's readers, and its space."""
        if self._lent is None or lent.listening is not self._lent.listening:
            self._space = None
        self._lent = lent

    def _readers(self) -> Lent:
        """What the model has lent."""
        assert self._lent is not None, "no model has lent its readers"
        return self._lent

    def batches(
        self,
        splits: Sequence[str],
        *,
        training: bool = False,
        needs_target: bool = False,
        folded: bool = False,
        only: Collection[str] | None = None,
        alone: bool = False,
    ) -> Iterable[Batch]:
        """Batches of these splits.

        With `new` among them it is use, not learning or measuring: tracks that were removed, and
        copies that others have replaced, are left out.

        Args:
            splits: of train, val, test and new.
            training: endless shuffled training pieces; else each piece of each track once.
            needs_target: leave out tracks without a target; training always does.
            folded: leave out the held-out fold; training always does.
            only: leave out tracks that aren't among these, and shards without any of them.
            alone: all of it for this process, whatever other ranks there are.
        """
        pipeline = self.pipeline(
            training=training,
            needs_target=needs_target or training,
            folded=folded or training,
            only=only,
            in_use=NEW in splits,
        )
        rank, world, seed = (0, 1, 0) if alone else self._rank_world_seed()
        request = Request(
            splits=splits,
            training=training,
            selected=only is not None,
            repeated=needs_target,  # as in validation
            batch_size=self.batch_size,
            workers=self.workers,
            shuffle_buffer=self.shuffle_buffer,
            memory_mb=self.memory_mb,
            position=self._position(),
            rank=rank,
            world=world,
            seed=seed,
        )
        return loader_of(pipeline, request)

    def _position(self) -> Position:
        """One epoch after the other."""
        return counted()

    def pipeline(
        self,
        *,
        training: bool = False,
        needs_target: bool = False,
        folded: bool = False,
        only: Collection[str] | None = None,
        in_use: bool = False,
    ) -> Pipeline:
        """What turns shards, or single samples, into batches; arguments as in `batches`.

        With `in_use`, it leaves out tracks that were removed, and copies that were replaced.
        """
        lent = self._readers()
        folds, fold = (self.folds, self.fold) if folded else (None, None)
        keep = Keep(folds, fold, None if only is None else frozenset(only))
        joined: dict[str, Callable[[str], Any]] = {}
        # A dataset to predict on needs no factors.
        if lent.target[0] == FACTORS and (needs_target or self.factors is not None):
            joined[FACTORS] = self._vectors(known_only=training).get
        for field in lent.factor_fields:
            joined[field] = ArtistTracks(self.shards, self.known_factors(), in_use)
        for name in sorted(self.drop):
            one_of("data.drop", name, list(lent.readers))
        lacks = Lacks(self.drop, self.missing, self._of_track_list(lent))
        return Pipeline(self.shards, lent, joined, keep, needs_target, training, lacks, in_use)

    def _of_track_list(self, lent: Lent) -> frozenset[str]:
        """The encoders that read the track list alone."""
        column_of = self.shards.column_of
        return frozenset(
            name
            for name, (fields, _) in lent.readers.items()
            if all(column_of(field) is not None for field in fields)
        )

    def _rank_world_seed(self) -> tuple[int, int, int]:
        return 0, 1, torch.initial_seed() % 2**32

    def _vectors(self, known_only: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Track id → factor vector. Training never sees one that was folded in."""
        factors = self.space()
        rows = np.flatnonzero(~factors.folded) if known_only else range(len(factors.track_ids))
        return {factors.track_ids[row]: factors.tracks[row] for row in rows}


def _same_splits(shards: Shards, factors: Factors) -> None:
    """A track that trains here and is held out there (or the other way) would leak."""
    side = dict(zip(factors.track_ids, factors.split.tolist(), strict=True))
    for track in shards.all_tracks():
        split = side.get(track["track_id"], "")
        if split and split != track["split"]:
            raise InputError(
                f"track {track['track_id']!r} is in '{track['split']}' of {shards.shown}, but in "
                f"'{split}' of the factors: its plays would leak. Make both from the same splits"
            )
