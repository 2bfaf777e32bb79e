"""The interface of all encoders.

An encoder turns one modality of a batch into one vector a track. It knows nothing of files,
Lightning or the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from coldstart.components import Component
from coldstart.sample import Sample


class Modality(NamedTuple):
    """One modality of a batch. The mask is part of the type.

    Attributes:
        values: [B, …], finite; zeros where the track lacks the modality. float32; large ones may
            be float16, int16 or uint8, which the encoder converts on its device.
        present: [B] bool.
    """

    values: Tensor
    present: Tensor


class Reader(Protocol):
    """Raw bytes → `Modality`. Runs in the loader's workers: picklable, and without parameters.

    Attributes:
        pieces: how many pieces `expand` makes of a track while training.
    """

    pieces: int

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Decode and collate.

        Raises:
            InputError: malformed (not missing) content; names track, field and shard.
        """
        ...

    def expand(self, sample: Sample, training: bool) -> Iterator[Sample]:
        """Split a track into the pieces that the model sees one by one, if it has any; else the
        track itself.
        """
        ...


class WholeTrack:
    """The `expand` of a modality that has one value a track."""

    pieces = 1

    def expand(self, sample: Sample, training: bool) -> Iterator[Sample]:
        """The track, as it is."""
        yield sample


class Encoder(Component):
    """Base class of all encoders.

    A subclass sets `fields`, and implements `build`, `reader` and `encode`. This class handles
    tracks that lack the modality: `encode` always runs on the whole batch (DDP needs every
    parameter in every step), and a learnt vector replaces the result for these tracks.

    Attributes:
        interface: version of this interface that the encoder was written for.
        fields: tar members that it reads, such as `("mgp.npy",)`; of the class, or set by
            `__init__` where an argument names them.
        streamed: true if its values are too large to keep those of all tracks in memory, or
            change from epoch to epoch.
        precomputed: true if it reads vectors that another net has computed: then a first stage of
            training has nothing to do for it.
        reads_factors: true if it reads the factors of other tracks. Its one field lies in no
            shard then: the data module joins it to a sample, as [n, K], the factors of the
            training tracks of the same artist, the most played first, without the track's own.
            `build` and `check` get the facts of the factors.
        reads_tracks: true if it reads columns of the track list. Its `fields` are `track.COLUMN`
            then, such as `track.artist_id`: they lie in no tar, and are joined to a sample as
            text, where a track has one that isn't empty. `build` and `check` get no facts but
            what `learn` returns.
        may_differ: arguments that no weight depends on, so that they may be changed for a trained
            model.
        dim: width of what it returns; known after `build`.
    """

    interface: ClassVar[int]
    fields: tuple[str, ...]
    streamed: ClassVar[bool] = False
    precomputed: ClassVar[bool] = False
    reads_factors: ClassVar[bool] = False
    reads_tracks: ClassVar[bool] = False
    may_differ: ClassVar[tuple[str, ...]] = ()
    dim: int
    absent: nn.Parameter

    def has_layers(self) -> bool:
        """Whether it has anything to train; called before `build`.

        With a fusion head that is solved, not trained, such encoders need a first stage.
        """
        return True

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """How it would read a dataset's modality without a layer to train; for `default.yaml`.

        Args:
            folder: of the shards; or `track`, of encoders with `reads_tracks`, which are asked
                about nothing else.
            info: its facts in dataset.json; of `track`, `columns`: of each column how many
                training `tracks` have a value, how many values are `shared` by two or more of
                them, and whether the split keeps its values `apart`, so that no held-out track's
                value is in training.

        Returns:
            Arguments of the constructor; None (the default) if it isn't made for this content.
        """
        return None

    def learn(self, samples: Iterable[Sample]) -> dict[str, Any]:
        """What the layers depend on in the content of the training tracks, such as a vocabulary.

        It is called once, before training. Its result is stored in the checkpoint, and passed to
        `build` among the facts.

        Args:
            samples: training tracks that have any of `fields`, one by one.

        Returns:
            Plain values: numbers, text, lists and dicts of these.
        """
        return {}

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers, from the modality's facts in dataset.json and what `learn` returned.

        Sets `dim` before it returns.
        """
        raise NotImplementedError

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """Raise InputError if a dataset's facts don't fit the ones that this was built from."""

    def reader(self) -> Reader:
        """The reader, which turns this modality's bytes into `Modality`; called after `build`."""
        raise NotImplementedError

    def encode(self, values: Tensor) -> Tensor:
        """[B, …] → [B, dim]."""
        raise NotImplementedError

    def describe(self, values: Tensor) -> Tensor:
        """[B, …] → [B, F]: a plain description, without learning, for the simple rivals."""
        return values.flatten(1)

    def feature_names(self) -> list[str] | None:
        """Names of the columns of its values, [B, F], if they mean something to people.

        An explanation then gives each column's contribution to a track's score; for this, `encode`
        needs gradients with respect to the values. Called after `build`.

        Returns:
            F names, or None (the default): the modality is explained as a whole.
        """
        return None

    def feature_baseline(self) -> Tensor:
        """[F]: the values relative to which contributions are measured; zeros by default.

        They should be those of a track without any special property.
        """
        return torch.zeros(len(self.feature_names() or ()))

    def start(self, info: Mapping[str, Any]) -> None:
        """Build, and add the learnt vector for tracks that lack the modality."""
        self.build(info)
        self.absent = nn.Parameter(torch.zeros(self.dim))

    def forward(self, modality: Modality) -> Tensor:
        """[B, dim], with the learnt vector where the modality is missing."""
        encoded = self.encode(modality.values)
        return torch.where(modality.present[:, None], encoded, self.absent)


def dense(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU and dropout after each.

    >>> dense((10, 4, 2), 0.5)(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
