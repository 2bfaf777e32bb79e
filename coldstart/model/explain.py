"""Why a track was recommended: what its modalities, and their attributes, add to its score.

The score is the cosine (or the dot product) of the query's vector, which is fixed, and the vector
that the model predicts from the track's content. It is divided among the modalities by Shapley
values, over the subsets of the modalities that the track has; a modality's share is divided among
its features by integrated gradients, if these have names. Both add up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.model.attribution import integrated_gradients, shapley, subsets, weight
from coldstart.model.net import Net

MAX_MODALITIES = 10
"""Of a track that can be explained: there are 2^M subsets."""

MAX_ATTRIBUTES = 5
"""Attributes of a modality that a line of text names."""

Similarity = Callable[[Tensor], Tensor]
"""Vectors [N, K] → [N], the similarity of each to the query."""

Explain = Callable[[Mapping[str, Similarity]], Mapping[str, "Why"]]
"""Track id → what a predicted vector adds to the track's score → why it has this score."""


class Share(NamedTuple):
    """What one modality adds to the score.

    Attributes:
        modality: its name in the model.
        value: its Shapley value; those of all modalities add up to the score.
        base: what it would add if its features were at their baseline, such as the average of the
            training tracks (includes the integration's error, which is too small to be printed);
            None if its features have no names.
        attributes: what each named feature adds by its difference from the baseline, the largest
            first; those that add nothing are left out. With `base` they add up to `value`.
    """

    modality: str
    value: float
    base: float | None
    attributes: dict[str, float]


class Why(NamedTuple):
    """The explanation of a track's score.

    Attributes:
        by: `content`: the track's vector was predicted from the modalities below; `plays`: it was
            factorised, and doesn't depend on content; `both`: predicted, then moved by plays.
        modalities: the largest share first; empty for `plays`.
        others: what else adds to the score: `plays`, the `artist`, and that the track is `new`.
        listeners: of how many listeners these plays are.
    """

    by: Literal["content", "plays", "both"]
    modalities: list[Share]
    others: Mapping[str, float] = MappingProxyType({})
    listeners: int = 0

    @property
    def score(self) -> float:
        """The sum of the shares.

        >>> Why("content", [Share("mgp", 0.5, None, {}), Share("audio", -0.125, None, {})]).score
        0.375
        """
        return sum(share.value for share in self.modalities) + sum(self.others.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values.

        >>> BY_PLAYS.as_json()
        {'by': 'plays', 'modalities': [], 'others': {}, 'listeners': 0}
        """
        return {
            "by": self.by,
            "modalities": [share._asdict() for share in self.modalities],
            "others": dict(self.others),
            "listeners": self.listeners,
        }

    def __str__(self) -> str:
        """One line.

        >>> tags = {"banjo": 0.12, "fast": -0.08}
        >>> str(Why("content", [Share("mgp", 0.19, 0.15, tags), Share("audio", -0.1, None, {})]))
        'mgp +0.190 (base +0.150, banjo +0.120, fast −0.080) · audio −0.100'
        >>> str(Why("both", [Share("mgp", 0.19, None, {})], {"plays": 0.2, "new": 0.1}, 3))
        'mgp +0.190 · 3 listeners +0.200 · new +0.100'
        """
        parts = [*map(_line, self.modalities)]
        for name, value in self.others.items():
            plural = "s" if self.listeners > 1 else ""
            label = f"{self.listeners:,} listener{plural}" if name == "plays" else name
            parts.append(f"{label} {_signed(value)}")
        return " · ".join(parts) or f"by its {self.by}"


BY_PLAYS = Why("plays", [])
"""The explanation of a warm track's score."""


class Pieces(NamedTuple):
    """A track as the model reads it: in P pieces, such as windows of its sound; often only one.

    Attributes:
        present: encoder name → [P] bool.
        encoded: encoder name → [P, dim].
        values: encoder name → [P, F], for encoders whose features have names.
    """

    present: dict[str, Tensor]
    encoded: dict[str, Tensor]
    values: dict[str, Tensor]


class FeaturePath(NamedTuple):
    """How an encoder's named features reach fusion.

    Attributes:
        names: F names; features of the same name are one attribute.
        baseline: [F].
        values: [P, F], the track's own.
        vectors: features [T, P, F] → vectors for fusion, [T, P or 1, dim].
    """

    names: Sequence[str]
    baseline: Tensor
    values: Tensor
    vectors: Callable[[Tensor], Tensor]


def encoders_with_names(model: Net) -> list[str]:
    """The encoders whose features have names."""
    return [name for name, encoder in _encoders(model) if encoder.feature_names()]


def collect(model: Net, batches: Iterable[Batch]) -> dict[str, Pieces]:
    """Encode the content of a few tracks. → track id → its pieces."""
    by_track: dict[str, list[Pieces]] = {}
    with_names = encoders_with_names(model)
    with torch.no_grad():
        for batch in batches:
            inputs = batch.to(model.device).inputs
            encoded = model.encode(inputs)
            for row, track in enumerate(batch.track_ids):
                piece = Pieces(
                    {name: m.present[row : row + 1] for name, m in inputs.items()},
                    {name: vectors[row : row + 1] for name, vectors in encoded.items()},
                    {name: inputs[name].values[row : row + 1] for name in with_names},
                )
                by_track.setdefault(track, []).append(piece)
    return {
        track: Pieces(
            _concatenated([piece.present for piece in pieces]),
            _concatenated([piece.encoded for piece in pieces]),
            _concatenated([piece.values for piece in pieces]),
        )
        for track, pieces in by_track.items()
    }


def own_paths(model: Net, pieces: Pieces) -> dict[str, FeaturePath]:
    """The paths of the features that the model reads itself. → encoder name → path."""
    return {
        name: _path(encoder, pieces.values[name])
        for name, encoder in _encoders(model)
        if name in pieces.values
    }


def path_through(
    nets: Sequence[tuple[Net, Pieces]],
    name: str,
    what: Literal["factors", "embedding"],
    head: Net,
) -> FeaturePath:
    """The path through the nets of a first stage, whose mean output the second stage reads.

    Args:
        nets: each with what it reads of the track.
        name: of the nets' only encoder, and of the head's encoder that reads their output.
        what: what the head reads: the `factors` that they predict, or their `embedding`.
        head: the second stage's model.
    """
    # Side by side, as each net may have learnt names of its own; equal names are added up later.
    paths = [_path(_encoder(net, name), pieces.values[name]) for net, pieces in nets]
    widths, reader = [len(path.baseline) for path in paths], _encoder(head, name)

    def vectors(features: Tensor) -> Tensor:
        outputs = []
        for (net, _), part in zip(nets, features.split(widths, dim=2), strict=True):
            rows = part.flatten(0, 1)
            inputs = {name: Modality(rows, rows.new_ones(len(rows), dtype=torch.bool))}
            output = net.predict(inputs) if what == "factors" else net.encode(inputs)[name]
            outputs.append(output.unflatten(0, part.shape[:2]).mean(1))
        return reader.encode(torch.stack(outputs).mean(0))[:, None]

    return FeaturePath(
        [feature for path in paths for feature in path.names],
        torch.cat([path.baseline for path in paths]),
        torch.cat([path.values for path in paths], dim=1),
        vectors,
    )


def explain(
    model: Net, pieces: Pieces, similarity: Similarity, paths: Mapping[str, FeaturePath]
) -> Why:
    """Divide the score of a track among its modalities and their attributes.

    Args:
        model: in eval mode; it predicts factors.
        pieces: the track's content.
        similarity: of a predicted vector to the query: the score.
        paths: encoder name → the path of its named features.

    Returns:
        Shares that add up to the score of the track's predicted vector. A modality outside a
        subset is missing as in training; a track without any modality has the score 0.

    Raises:
        InputError: the track has more than `MAX_MODALITIES` modalities.
    """
    players = [name for name, present in pieces.present.items() if present.any()]
    if len(players) > MAX_MODALITIES:
        raise InputError(
            f"this track has {len(players)} modalities ({', '.join(players)}); the shares of at "
            f"most {MAX_MODALITIES} can be told apart, as every subset of them is tried"
        )
    with torch.no_grad():
        scores = {
            subset: _score(model, pieces, similarity, subset).item() if subset else 0.0
            for subset in subsets(players)
        }
    shares = []
    for name, value in shapley(scores).items():
        if name not in paths:
            shares.append(Share(name, value, None, {}))
            continue
        attributes = _attributes(model, pieces, similarity, name, players, paths[name])
        shares.append(Share(name, value, value - sum(attributes.values()), attributes))
    return Why("content", sorted(shares, key=lambda share: -abs(share.value)))


def _attributes(
    model: Net,
    pieces: Pieces,
    similarity: Similarity,
    name: str,
    players: list[str],
    path: FeaturePath,
) -> dict[str, float]:
    """What each feature adds to its modality's share, the largest first."""
    others = subsets([player for player in players if player != name])

    def share(features: Tensor) -> Tensor:
        """[T, P, F] → [T], the modality's share plus what doesn't depend on its features."""
        vectors = {name: path.vectors(features)}
        scores = [
            weight(len(subset), len(players))
            * _score(model, pieces, similarity, subset | {name}, vectors)
            for subset in others
        ]
        return torch.stack(scores).sum(0)

    parts = integrated_gradients(share, path.values, path.baseline)
    attributes: dict[str, float] = {}
    for feature, part in zip(path.names, parts.tolist(), strict=True):
        attributes[feature] = attributes.get(feature, 0.0) + part
    largest_first = sorted(attributes.items(), key=lambda item: -abs(item[1]))
    return {feature: value for feature, value in largest_first if value}


def _score(
    model: Net,
    pieces: Pieces,
    similarity: Similarity,
    modalities: Collection[str],
    replacements: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The score of a track that has only some of its modalities.

    Args:
        model: predicts factors.
        pieces: the track's content.
        similarity: of vectors to the query.
        modalities: at least one that the track has.
        replacements: encoder name → vectors [T, P or 1, dim] in place of the track's own.

    Returns:
        [T]; T is 1 without replacements.
    """
    replacements = replacements or {}
    count = max((len(vectors) for vectors in replacements.values()), default=1)
    length = len(next(iter(pieces.present.values())))
    present, encoded = {}, {}
    for name, encoder in _encoders(model):
        mask = pieces.present[name] & (name in modalities)
        vectors = replacements.get(name, pieces.encoded[name][None])
        vectors = torch.where(mask[:, None], vectors, encoder.absent)
        present[name] = mask.repeat(count)
        encoded[name] = vectors.expand(count, length, -1).flatten(0, 1)
    outputs = model.target.output(model.fusion(encoded, present)).unflatten(0, (count, length))
    # As in a prediction: the mean over the pieces that have any of the modalities.
    with_content = torch.stack([pieces.present[name] for name in modalities]).any(0)
    return similarity(outputs[:, with_content].mean(1))


def _path(encoder: Encoder, values: Tensor) -> FeaturePath:
    """The path of features that the encoder reads itself."""

    def vectors(features: Tensor) -> Tensor:
        encoded: Tensor = encoder.encode(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return encoded

    baseline = encoder.feature_baseline().to(values.device)
    return FeaturePath(encoder.feature_names() or [], baseline, values, vectors)


def _concatenated(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of the same name, piece after piece."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _encoder(model: Net, name: str) -> Encoder:
    return dict(_encoders(model))[name]


def _encoders(model: Net) -> list[tuple[str, Encoder]]:
    return [(name, part) for name, part in model.encoders.items() if isinstance(part, Encoder)]


def _line(share: Share) -> str:
    if share.base is None:
        return f"{share.modality} {_signed(share.value)}"
    attributes = list(share.attributes.items())
    parts = [("base", share.base), *attributes[:MAX_ATTRIBUTES]]
    if rest := attributes[MAX_ATTRIBUTES:]:
        parts.append(("… others", sum(value for _, value in rest)))
    inside = ", ".join(f"{name} {_signed(value)}" for name, value in parts)
    return f"{share.modality} {_signed(share.value)} ({inside})"


def _signed(value: float) -> str:
    """With its sign, and with as many digits as the similarity is printed.

    >>> _signed(0.1234), _signed(-0.5), _signed(-0.0001)
    ('+0.123', '−0.500', '+0.000')
    """
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")
