"""Accuracy for light and heavy listeners: whether lists suit those of whom little is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from coldstart.errors import InputError
from coldstart.evaluation import uncertainty
from coldstart.evaluation.metrics import expected_parts
from coldstart.evaluation.results import by_user_name, plain_method
from coldstart.evaluation.tasks import training_tracks, user_rows
from coldstart.reporting.page import Section, paragraph, picture, together
from coldstart.summary import groups
from coldstart.summary.groups import GroupFigure, GroupRanking, group_picture
from coldstart.summary.material import Material

NAMES = ("light", "middle", "heavy")


def activity(material: Material, ranking: GroupRanking) -> Section | None:
    """The section of listeners by how many known tracks they have played; None of too few."""
    recommender = material.recommender
    if recommender is None or len(ranking.task.user_ids) < groups.LEAST_USERS * len(NAMES):
        return None
    factors = recommender.run.data.known_factors()
    known = training_tracks(factors)[user_rows(factors, ranking.task)]
    third = np.zeros(len(known), dtype=np.int64)
    third[np.argsort(known, kind="stable")] = np.arange(len(known)) * len(NAMES) // len(known)

    ndcg = ranking.task.figures(ranking.vectors)[1]
    level = torch.zeros(len(ranking.vectors))
    floor = expected_parts(level, ranking.task.relevant, level.long(), 1)[0, 1]
    beside = _best_rival(material)
    figures, rivals = [], {}
    for i, name in enumerate(NAMES):
        group = torch.from_numpy(np.flatnonzero(third == i))
        least, most = known[third == i].min(), known[third == i].max()
        label = f"{name}, {least:,} to {most:,}"
        low, high = uncertainty.interval(uncertainty.resampled_means(ndcg[group][None])[:, 0])
        figures.append(
            GroupFigure(
                label,
                len(ranking.vectors),
                len(group),
                float(ndcg[group].double().mean()),
                low,
                high,
                float(floor[group].double().mean()),
            )
        )
        if beside is not None:
            method, of_user = beside
            users = [ranking.task.user_ids[j] for j in group.tolist()]
            values = [of_user[user] for user in users if user in of_user]
            if len(values) == len(users):
                rivals[label] = (method, float(np.mean(values)))
    intro = (
        "Listeners in three groups of one size, by how many known tracks they have played: of "
        "light ones little is known."
    )
    drawn = group_picture(figures, "activity", "listeners", rivals)
    body = [paragraph(intro), picture(drawn), ranking.note(material, "")]
    return Section("activity", "Light and heavy listeners", together(body), [drawn])


def _best_rival(material: Material) -> tuple[str, dict[str, float]] | None:
    """The best rival of the test, and each listener's NDCG by it; None where it wasn't kept."""
    path = material.folder / by_user_name()
    beside = material.results and material.results.about.get("beside_the_best_rival")
    if not beside or not path.is_file():
        return None
    method = plain_method(beside["rival"])
    try:
        rows = pl.read_parquet(path).filter(pl.col("method") == method)
        return method, dict(rows.select("user_id", "ndcg").iter_rows())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: not readable ({error}); test again") from error
