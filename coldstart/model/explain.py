"""Why a track was recommended: what its modalities, and their attributes, add to its score.

The score is the cosine (or the dot product) of the query's vector, held fixed, and the vector that
the model predicts from the track's content. Modalities share it by their Shapley values, over the
subsets of what the track has; a modality's share is split among its features by integrated
gradients, if these have names. Both add up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.model.attribution import integrated_gradients, shapley, subsets, weight
from coldstart.model.net import Net

MOST = 10
"""Modalities of a track, at most: there are 2^M subsets."""


SHOWN = 5
"""Attributes of a modality that a line of text names."""

Likeness = Callable[[Tensor], Tensor]
"""Vectors [N, K] → [N], how near each is to what is asked for."""

Explain = Callable[[Likeness, list[str]], Mapping[str, "Why"]]
"""What is asked for and the ids of tracks → why each of them has its score."""


class Share(NamedTuple):
    """What one modality adds to the score.

    Attributes:
        modality: its name in the model.
        value: its Shapley value; those of all modalities add up to the score.
        base: what it would add if its features were at their baseline, such as the average of the
            training tracks (and the integration's error, below a digit that is printed); None if
            its features have no names.
        attributes: what each named feature adds as it departs from there, the largest first; those
            that add nothing are left out. With `base` they add up to `value`.
    """

    modality: str
    value: float
    base: float | None
    attributes: dict[str, float]


class Why(NamedTuple):
    """Where a score comes from.

    Attributes:
        by: `content`: the vector was predicted, from the modalities below; `plays`: it was
            factorised, and no content had a part in it.
        modalities: the largest first; empty where plays decided.
    """

    by: Literal["content", "plays"]
    modalities: list[Share]

    @property
    def score(self) -> float:
        """What the shares add up to.

        >>> Why("content", [Share("mgp", 0.5, None, {}), Share("audio", -0.125, None, {})]).score
        0.375
        """
        return sum(share.value for share in self.modalities)

    def as_json(self) -> dict[str, Any]:
        """Plain values.

        >>> BY_PLAYS.as_json()
        {'by': 'plays', 'modalities': []}
        """
        return {"by": self.by, "modalities": [share._asdict() for share in self.modalities]}

    def __str__(self) -> str:
        """One line.

        >>> tags = {"banjo": 0.12, "fast": -0.08}
        >>> str(Why("content", [Share("mgp", 0.19, 0.15, tags), Share("audio", -0.1, None, {})]))
        'mgp +0.190 (base +0.150, banjo +0.120, fast −0.080) · audio −0.100'
        """
        return " · ".join(map(_line, self.modalities)) or f"by its {self.by}"


BY_PLAYS = Why("plays", [])
"""Why a warm track has its score."""


class Pieces(NamedTuple):
    """A track as the model sees it: in P pieces, such as windows of its sound; mostly in one.

    Attributes:
        present: encoder name → [P] bool.
        encoded: encoder name → [P, dim].
        values: encoder name → [P, F], of those whose features have names.
    """

    present: dict[str, Tensor]
    encoded: dict[str, Tensor]
    values: dict[str, Tensor]


class Way(NamedTuple):
    """How an encoder's named features reach fusion.

    Attributes:
        names: F names; one that comes several times is one attribute.
        baseline: [F].
        values: [P, F], the track's own.
        vectors: features [T, P, F] → vectors for fusion, [T, P or 1, dim].
    """

    names: Sequence[str]
    baseline: Tensor
    values: Tensor
    vectors: Callable[[Tensor], Tensor]


def named(model: Net) -> list[str]:
    """The encoders whose features have names."""
    return [name for name, encoder in _encoders(model) if encoder.feature_names()]


def collect(model: Net, batches: Iterable[Batch]) -> dict[str, Pieces]:
    """Encode the content of a few tracks. → track id → its pieces."""
    found: dict[str, list[Pieces]] = {}
    kept = named(model)
    with torch.no_grad():
        for batch in batches:
            inputs = batch.to(model.device).inputs
            encoded = model.encode(inputs)
            for row, track in enumerate(batch.track_ids):
                piece = Pieces(
                    {name: m.present[row : row + 1] for name, m in inputs.items()},
                    {name: vectors[row : row + 1] for name, vectors in encoded.items()},
                    {name: inputs[name].values[row : row + 1] for name in kept},
                )
                found.setdefault(track, []).append(piece)
    return {track: Pieces(*map(_joined, *pieces)) for track, pieces in found.items()}


def own_ways(model: Net, pieces: Pieces) -> dict[str, Way]:
    """The ways of the features that the model reads itself. → encoder name → way."""
    ways = {}
    for name, encoder in _encoders(model):
        if name in pieces.values:
            ways[name] = _way(encoder, pieces.values[name])
    return ways


def way_through(
    nets: Sequence[tuple[Net, Pieces]],
    name: str,
    what: Literal["factors", "embedding"],
    head: Net,
) -> Way:
    """The way through the nets of a first stage, whose mean output the second stage reads.

    Args:
        nets: each with what it reads of the track.
        name: of the nets' only encoder, and of the head's that reads their output.
        what: what the head reads: the `factors` that they predict, or their `embedding`.
        head: the second stage's model.
    """
    # Side by side, for each net may have learnt names of its own; alike ones are added up later.
    parts = [_way(_encoder(net, name), pieces.values[name]) for net, pieces in nets]
    widths, reads = [len(part.baseline) for part in parts], _encoder(head, name)

    def vectors(features: Tensor) -> Tensor:
        made = []
        for (net, _), part in zip(nets, features.split(widths, dim=2), strict=True):
            rows = part.flatten(0, 1)
            inputs = {name: Modality(rows, rows.new_ones(len(rows), dtype=torch.bool))}
            out = net.predict(inputs) if what == "factors" else net.encode(inputs)[name]
            made.append(out.unflatten(0, part.shape[:2]).mean(1))
        return reads.encode(torch.stack(made).mean(0))[:, None]

    return Way(
        [called for part in parts for called in part.names],
        torch.cat([part.baseline for part in parts]),
        torch.cat([part.values for part in parts], dim=1),
        vectors,
    )


def explain(model: Net, pieces: Pieces, likeness: Likeness, ways: Mapping[str, Way]) -> Why:
    """Say what each modality of a track adds to its score.

    Args:
        model: in eval mode; it predicts factors.
        pieces: the track's content.
        likeness: of a predicted vector to what is asked for: the score.
        ways: encoder name → the way of its named features.

    Returns:
        Shares that add up to the score of the track's predicted vector. What is not
        there is missing as in training; of a track of which nothing is known the score is 0.

    Raises:
        InputError: the track has more than `MOST` modalities.
    """
    players = [name for name, there in pieces.present.items() if there.any()]
    if len(players) > MOST:
        raise InputError(
            f"this track has {len(players)} modalities ({', '.join(players)}); the shares of at "
            f"most {MOST} can be told apart, as every subset of them is tried"
        )
    with torch.no_grad():
        values = {
            some: _score(model, pieces, likeness, some).item() if some else 0.0
            for some in subsets(players)
        }
    shares = []
    for name, value in shapley(values).items():
        if name not in ways:
            shares.append(Share(name, value, None, {}))
            continue
        added = _attributes(model, pieces, likeness, name, players, ways[name])
        shares.append(Share(name, value, value - sum(added.values()), added))
    return Why("content", sorted(shares, key=lambda share: -abs(share.value)))


def _attributes(
    model: Net, pieces: Pieces, likeness: Likeness, name: str, players: list[str], way: Way
) -> dict[str, float]:
    """What each feature adds to its modality's share, the largest first."""
    others = subsets([player for player in players if player != name])

    def share(features: Tensor) -> Tensor:
        """[T, P, F] → [T], but for what the others reach without this modality."""
        vectors = way.vectors(features)
        scores = [
            weight(len(some), len(players))
            * _score(model, pieces, likeness, some | {name}, {name: vectors})
            for some in others
        ]
        return torch.stack(scores).sum(0)

    added: dict[str, float] = {}
    parts = integrated_gradients(share, way.values, way.baseline)
    for called, part in zip(way.names, parts.tolist(), strict=True):
        added[called] = added.get(called, 0.0) + part
    return dict(sorted(((n, v) for n, v in added.items() if v), key=lambda item: -abs(item[1])))


def _score(
    model: Net,
    pieces: Pieces,
    likeness: Likeness,
    there: Collection[str],
    instead: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The score if only some modalities are there; `instead`: [T, P or 1, dim] for own vectors.

    Returns:
        [T]; T is 1 without `instead`.
    """
    instead = instead or {}
    (count,) = {len(vectors) for vectors in instead.values()} or {1}
    length = len(next(iter(pieces.present.values())))
    present, encoded = {}, {}
    for name, encoder in _encoders(model):
        mask = pieces.present[name] & (name in there)
        vectors = instead.get(name, pieces.encoded[name][None])
        vectors = torch.where(mask[:, None], vectors, encoder.absent)
        present[name] = mask.repeat(count)
        encoded[name] = vectors.expand(count, length, -1).flatten(0, 1)
    out = model.target.output(model.fusion(encoded, present)).unflatten(0, (count, length))
    # As in a prediction: the mean over the pieces of which anything is known.
    known = torch.stack([pieces.present[name] for name in there]).any(0)
    return likeness(out[:, known].mean(1))


def _way(encoder: Encoder, values: Tensor) -> Way:
    def vectors(features: Tensor) -> Tensor:
        encoded: Tensor = encoder.encode(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return encoded

    baseline = encoder.feature_baseline().to(values.device)
    return Way(encoder.feature_names() or [], baseline, values, vectors)


def _joined(*parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _encoder(model: Net, name: str) -> Encoder:
    return dict(_encoders(model))[name]


def _encoders(model: Net) -> list[tuple[str, Encoder]]:
    return [(name, part) for name, part in model.encoders.items() if isinstance(part, Encoder)]


def _line(share: Share) -> str:
    if share.base is None:
        return f"{share.modality} {_signed(share.value)}"
    attributes = list(share.attributes.items())
    said = [("base", share.base), *attributes[:SHOWN]]
    if rest := attributes[SHOWN:]:
        said.append(("… others", sum(value for _, value in rest)))
    inside = ", ".join(f"{name} {_signed(value)}" for name, value in said)
    return f"{share.modality} {_signed(share.value)} ({inside})"


def _signed(value: float) -> str:
    """With its sign, and as many digits as the similarity is printed with.

    >>> _signed(0.1234), _signed(-0.5), _signed(-0.0001)
    ('+0.123', '−0.500', '+0.000')
    """
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")
