"""What a fitted model can do in Python: `ColdStart` has these functions as methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from coldstart.data.track_data import TrackData
from coldstart.errors import InputError, one_of
from coldstart.factors.factors import Factors
from coldstart.files import StrPath
from coldstart.model.ensemble import Ensemble
from coldstart.model.explain import Similarity, Why, collect, explain, own_paths
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions, predict_batches
from coldstart.retrieval import query
from coldstart.retrieval.catalogue import catalogue_of, must_predict_factors
from coldstart.retrieval.query import Recommendations, Vector
from coldstart.retrieval.selection import CANDIDATES, Candidates, select
from coldstart.shards.reading import Shards
from coldstart.tables.splits import IN_USE


def embed(
    model: Net,
    shards: Shards | StrPath,
    tracks: str | Sequence[str] | None = None,
    *,
    factors: Factors | StrPath | None = None,
) -> Predictions:
    """Predict tracks' places in collaborative-filtering space from their content.

    Runs in eval mode, on the model's device. A track that comes in pieces (audio in windows) gets
    the mean over all its pieces.

    Args:
        model: a built one.
        shards: a dataset with the modalities that the model reads, or its folder.
        tracks: ids of those to embed; all of them if not given.
        factors: those that the model was trained on, or their folder; needed only where it reads
            them, as `Artist` does.

    Returns:
        `track_ids`, N ids, in the order named or else in that of the shards; `values`, [N, K]
        float32 on the CPU, of unit length if factors are predicted. A track that has none of the
        model's inputs is left out.

    Raises:
        InputError: the model isn't built, the dataset lacks what it reads or is of another kind,
            there is no such track, or none of the tracks has any of the inputs.
    """
    data = _open(model, shards, factors)
    if tracks is None:
        return predict_batches(model, data.batches(IN_USE))
    named = list(dict.fromkeys([tracks] if isinstance(tracks, str) else tracks))
    in_shards = {track["track_id"] for track in data.shards.tracks_in_use()}
    if unknown := [track for track in named if track not in in_shards]:
        raise InputError(
            f"{data.shards.shown}: there is no track {unknown[0]!r} ({len(unknown):,} of the "
            f"{len(named):,} named are not there)"
        )
    predictions = predict_batches(model, data.batches(IN_USE, only=named))
    row_of = {track: row for row, track in enumerate(predictions.track_ids)}
    with_inputs = [track for track in named if track in row_of]
    return Predictions(with_inputs, predictions.values[[row_of[track] for track in with_inputs]])


def recommend(
    model: Net,
    shards: Shards | StrPath,
    factors: Factors | StrPath | None = None,
    *,
    like: str | None = None,
    user: str | None = None,
    vector: Vector | None = None,
    k: int = 10,
    candidates: Candidates | Collection[str] = "cold",
    embedded: Predictions | None = None,
    why: bool = False,
    ensemble: Ensemble | None = None,
) -> Recommendations:
    """Recommend tracks like a track, for a user, or near any vector of the space, by cosine;
    for a user of a model in which lengths count, by dot product.

    A warm track's place is given by its plays, a cold one's by its content: both are in the same
    space, so they can be compared.

    Args:
        model: a built one that predicts factors.
        shards: the tracks to recommend from: a dataset, or its folder.
        factors: those that the model was trained on, or their folder; without them there are no
            users, and every track is cold.
        like: id of a track in the shards or the factors.
        user: id of a listener; tracks that they have played are left out.
        vector: [K], such as a row of what `embed` gives, or the mean of several.
        k: how many.
        candidates: `cold`: tracks that were not factorised; `warm`: those that were; `all`; or ids
            of tracks.
        embedded: the result of `embed` for these shards, so that several queries compute it once.
        why: say what each modality of a cold track added to its similarity, and which attributes;
            where nets of a first stage compute a modality's vectors, only the verb `recommend`
            knows its attributes.
        ensemble: how content and plays of cold tracks are joined, such as
            `read_ensemble(run).ensemble`; None: cold tracks have the place of their content.

    Returns:
        At most k recommendations, best first; `plays` is 0 without factors.

    Raises:
        InputError: not exactly one query, an unknown one, nothing to choose from, other factors
            than the model's, an ensemble without factors, or as in `embed`.
    """
    data = _open(model, shards, factors)
    if sum(question is not None for question in (like, user, vector)) != 1:
        raise InputError("name one query: like, user or vector")
    if k < 1:
        raise InputError("k is at least 1")
    if isinstance(candidates, str):
        one_of("candidates", candidates, CANDIDATES)
    must_predict_factors(model)

    def reasons(similarities: Mapping[str, Similarity]) -> dict[str, Why]:
        training = model.training
        model.eval()
        try:
            tracks = collect(model, data.batches(IN_USE, only=list(similarities)))
            return {
                track: explain(model, pieces, similarities[track], own_paths(model, pieces))
                for track, pieces in tracks.items()
            }
        finally:
            model.train(training)

    predictions = embedded or predict_batches(model, data.batches(IN_USE))
    if ensemble is not None and data.factors is None:
        raise InputError("an ensemble joins content with plays: name the factors, too")
    space = data.space() if data.factors is not None else None
    catalogue = catalogue_of(model, data, predictions, space, ensemble)
    if like is not None:
        asked = query.like(catalogue, [like])
    elif user is not None:
        asked = query.listener(catalogue, user)
    else:
        assert vector is not None
        asked = query.place(catalogue, vector)
    selection = select(catalogue, candidates)
    return query.answer(catalogue, asked, selection, k, explain=reasons if why else None)


def _open(
    model: Net, shards: Shards | StrPath, factors: Factors | StrPath | None = None
) -> TrackData:
    """A dataset that this model can read, set up with the model's readers."""
    data = TrackData(str(shards.folder if isinstance(shards, Shards) else shards), None)
    if factors is not None:
        data.factors = factors if isinstance(factors, Factors) else Factors.load(factors)
    model.check(data.info, data.has)
    data.lend(model.lend())
    return data
