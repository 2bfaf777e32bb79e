"""What every encoder is: the plugin interface.

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
        values: [B, …], finite; zeros where the track lacks the modality. float32; or, where they
            are large, float16, int16 or uint8, which the encoder widens on its device.
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
        """Turn a track into the pieces that the model sees one by one; the track itself if there
        are none.
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

    A subclass sets `fields`, and implements `build`, `reader` and `encode`. Missing tracks are
    this class's job: `encode` always runs on the whole batch (so that every parameter is in every
    step, as DDP needs), and a learnt vector takes the place of what is missing.

    Attributes:
        interface: version of this interface that the encoder was written for.
        fields: tar members that it reads, such as `("mgp.npy",)`; of the class, or set by
            `__init__` where an argument names them.
        streamed: true if its values are too large to keep all tracks' in memory, or differ from
            epoch to epoch.
        precomputed: true if it reads vectors that another net has computed: then a first stage of
            training has nothing to do for it.
        may_differ: arguments that touch no weight, so a trained model may be given others.
        dim: width of what it returns; known after `build`.
    """

    interface: ClassVar[int]
    fields: tuple[str, ...]
    streamed: ClassVar[bool] = False
    precomputed: ClassVar[bool] = False
    may_differ: ClassVar[tuple[str, ...]] = ()
    dim: int
    absent: nn.Parameter

    def has_layers(self) -> bool:
        """Whether it has anything to train; asked before `build`.

        A head that is solved, not trained, leaves those that have to a first stage.
        """
        return True

    def learn(self, samples: Iterable[Sample]) -> dict[str, Any]:
        """What must be known of the training tracks' content before layers are made.

        Such as a vocabulary. It is called once, before training; what it returns is kept in the
        checkpoint and reaches `build` among the facts.

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
        """What turns this modality's bytes into `Modality`; called after `build`."""
        raise NotImplementedError

    def encode(self, values: Tensor) -> Tensor:
        """[B, …] → [B, dim]."""
        raise NotImplementedError

    def describe(self, values: Tensor) -> Tensor:
        """[B, …] → [B, F]: a plain description, without learning, for the simple rivals."""
        return values.flatten(1)

    def feature_names(self) -> list[str] | None:
        """What the columns of its values, [B, F], are called, if that means something to people.

        An explanation then says what each of them added to a track's score, for which `encode`
        needs gradients with respect to the values. Called after `build`.

        Returns:
            F names, or None (the default): the modality is explained as a whole.
        """
        return None

    def feature_baseline(self) -> Tensor:
        """[F]: the values from which named features' contributions are counted; zeros by default.

        They should stand for a track about which there is nothing special.
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
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
