"""The verb `export`: the vectors of tracks and users, for other systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from coldstart.files import StrPath

if TYPE_CHECKING:
    from coldstart.retrieval.export import Export


def export(
    *,
    run: StrPath,
    out: StrPath,
    shards: str | None = None,
    factors: str | None = None,
    placement: Literal["ensemble", "either"] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write the vectors of all tracks and users as Parquet and NPY, so that a dot product scores.

    Writes tracks.parquet (track_id, vector, warm, by), users.parquet (user_id, vector), the same as
    tracks.npy and users.npy with their ids in tracks.ids.json and users.ids.json, and about.json.

    Args:
        run: folder of a fitted run.
        out: folder to write.
        shards: other shards than the run's.
        factors: other factors than the run's.
        placement: where a track lies that was not factorised: `ensemble`, the default: where its
            content and its plays put it; `either`: where its content puts it.
        overwrite: replace `out` if it exists.

    Returns:
        What was written.
    """
    from coldstart.retrieval.export import export_vectors
    from coldstart.retrieval.recommender import Recommender

    recommender = Recommender(run, shards=shards, factors=factors, placement=placement)
    result = export_vectors(recommender, out, overwrite)
    print(
        f"wrote {result.folder}: {result.tracks:,} tracks ({result.warm:,} warm) and "
        f"{result.users:,} users, {result.width} numbers each; score: "
        + ("cosine (all have length 1)" if result.score == "cosine" else "dot product")
    )
    return result
