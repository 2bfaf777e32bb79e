"""ArtistId: who made a track, as a code of its own for each artist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed

BLOCK = 512
"""Signs that one hash gives."""


def code_of(artist: str, dim: int) -> NDArray[np.float32]:
    """An artist's code: `dim` numbers ±1/√dim, the same in every process and on every machine.

    The signs are bits of BLAKE2b hashes of the id, so a shorter code has the first signs of a
    longer one.

    Args:
        artist: id.
        dim: at least 1.

    Returns:
        [dim], of length 1.

    Examples:
        >>> code_of("Nina Simone", 4).tolist()
        [0.5, 0.5, -0.5, -0.5]
    """
    # An id from JSON may hold half of a surrogate pair, which UTF-8 has no bytes for.
    name = artist.encode("utf-8", "surrogatepass")
    blocks = range(-(-dim // BLOCK))
    digests = (blake2b(name, salt=block.to_bytes(8, "little")).digest() for block in blocks)
    bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8))[:dim]
    return np.where(bits, 1.0, -1.0).astype(np.float32) / np.float32(dim**0.5)


class ArtistIdReader(WholeTrack):
    """Turns artists' ids into codes."""

    def __init__(self, field: str, dim: int) -> None:
        """`dim`: numbers of a code."""
        self.field, self.dim = field, dim

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Values [B, dim]; missing where a track has no artist."""
        values = torch.zeros(len(samples), self.dim)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, sample in enumerate(samples):
            artist = sample.get(self.field)
            if artist is None:
                continue
            if not isinstance(artist, str) or not artist:
                raise malformed(sample, self.field, f"{artist!r} is no id of an artist")
            values[i], present[i] = torch.from_numpy(code_of(artist, self.dim)), True
        return Modality(values, present)


class ArtistId(Encoder):
    """Who made a track: tracks of one artist have one code, other artists' codes are nearly
    orthogonal to it.

    The codes are a random projection, by signs, of one column an artist (D. Achlioptas,
    "Database-friendly random projections: Johnson-Lindenstrauss with binary coins", 2003): the
    scalar product of two artists' codes is 0 ± 1/√dim. So there is no vocabulary, and nothing to
    learn; an artist without a training track has a code, too, which says nothing. The id is that of
    the track list (`artist_id`); a track without one lacks the modality.

    It knows no plays, unlike `Artist`; a fusion head can learn from it what the artist's training
    tracks have in common beyond their content. Where a split keeps artists apart, it says nothing
    of any held-out track.
    """

    interface = 1
    fields: tuple[str, ...] = ("track.artist_id",)
    reads_tracks: ClassVar[bool] = True

    def __init__(self, dim: int = 256, hidden: Sequence[int] = (), dropout: float = 0.5) -> None:
        """The codes themselves, or dense layers over them.

        Args:
            dim: numbers of a code.
            hidden: widths of dense layers; none by default: fusion gets the codes.
            dropout: share of units dropped after each layer while training.
        """
        super().__init__()
        if dim < 1:
            raise InputError(f"ArtistId: dim is at least 1, not {dim}")
        if min(hidden, default=1) < 1:
            raise InputError(f"hidden: {list(hidden)} are not widths of at least 1")
        self.width, self.hidden, self.dropout = dim, tuple(hidden), dropout

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where training tracks have an artist in common, and the split doesn't keep artists
        apart.
        """
        column = cls.fields[0].removeprefix(f"{folder}.")
        about = info.get("columns", {}).get(column)
        return {} if about and about["shared"] and not about["apart"] else None

    def has_layers(self) -> bool:
        """Unless `hidden` is empty."""
        return bool(self.hidden)

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers; no fact is needed."""
        sizes = (self.width, *self.hidden)
        self.net = dense(sizes, self.dropout)
        self.dim = sizes[-1]

    def reader(self) -> ArtistIdReader:
        """Turns ids into codes."""
        return ArtistIdReader(self.fields[0], self.width)

    def encode(self, values: Tensor) -> Tensor:
        """[B, width] → [B, dim]."""
        encoded: Tensor = self.net(values)
        return encoded
