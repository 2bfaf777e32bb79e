"""What a test measures of a run's ensemble: mixed lists, and the warm-up curve."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import polars as pl
import torch

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.evaluation import warm_up
from coldstart.evaluation.calibration import Calibration, calibrate
from coldstart.evaluation.evaluate import Placed
from coldstart.evaluation.tasks import Lengths
from coldstart.evaluation.warm_up import WarmUp
from coldstart.files import write_json
from coldstart.model.ensemble import Audience, Ensemble, artist_levels, priors
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions, as_array, predict_batches
from coldstart.reporting.pictures import Point, warm_up_picture
from coldstart.runs.ensemble import ensemble_of, settings_of_run
from coldstart.shards.track_rows import artists_of
from coldstart.tables.table import write_table
from coldstart.targets.track_factors import TrackFactors

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """A model's ensemble, and what it was chosen on.

    Attributes:
        calibration: the numbers.
        predictions: of the validation and the test tracks.
        artists: track id → artist.
    """

    calibration: Calibration
    predictions: Predictions
    artists: dict[str, str]


def choice_of(run: Path | None, model: Net, data: ColdStartData, of_test: Predictions) -> Choice:
    """The ensemble of the model that is tested: the run's, or chosen now.

    Args:
        run: its folder; None for a trainer made in Python.
        model: what is tested.
        data: its dataset.
        of_test: predictions of the test tracks.

    Raises:
        InputError: the model doesn't predict factors, or the factors lack what is needed.
    """
    if not isinstance(model.target, TrackFactors):
        raise InputError(
            f"this model predicts {type(model.target).__name__}, and no places in the space of "
            "plays, so there is nothing to join plays with"
        )
    factors, tracks = data.space(), data.shards.all_tracks()
    predictions = of_test
    if any(data.shards.shard_sizes("val")):
        data.lend(model.lend())
        of_val = predict_batches(model, data.batches(["val"]))
        ids = [*of_val.track_ids, *of_test.track_ids]
        values = torch.cat([of_val.values.cpu(), of_test.values.cpu()])
        predictions = Predictions(ids, values)
    if run is not None and not data.drop and settings_of_run(run) is not None:
        found = ensemble_of(run, model, predictions, factors, tracks)
    else:  # nothing that a run would keep: also of a test without some modalities
        chosen = calibrate(predictions, factors, artists_of(tracks))
        found = chosen or Calibration(Ensemble(), {"note": "nothing: too few validation tracks"})
    return Choice(found, predictions, artists_of(tracks))


def placed(choice: Choice, data: ColdStartData, of_test: Predictions, by_length: bool) -> Placed:
    """The test tracks in a list of new and known ones, without their plays."""
    audience, ensemble = Audience(data.space()), choice.calibration.ensemble
    levels = artist_levels(audience, of_test.track_ids, choice.artists)
    prior = torch.from_numpy(priors(audience, as_array(of_test.values), levels, ensemble))
    before: Lengths = "own" if by_length else "unit"
    return Placed(ensemble, audience.lifted(prior, ensemble), audience, before)


def measure_warm_up(
    choice: Choice, data: ColdStartData, of_test: Predictions, folder: Path, name: str
) -> str:
    """Measure the warm-up curve, write NAME.json, .csv, .png and NAME_by_user.parquet.

    Returns:
        The figures as a table for people.
    """
    curve = warm_up.warm_up(
        choice.predictions,
        of_test.track_ids,
        data.space(),
        choice.calibration,
        choice.artists,
    )
    _write(curve, folder, name)
    return f"{warm_up.table(curve.rows)}\n{warm_up.caption(curve.about, curve.rows)}"


def _write(curve: WarmUp, folder: Path, name: str) -> None:
    records = [row._asdict() for row in curve.rows]
    write_table(folder / f"{name}_by_user.parquet", curve.by_user)
    write_json(folder / f"{name}.json", {**curve.about, "rows": records})
    write_table(folder / f"{name}.csv", pl.DataFrame(records, infer_schema_length=None))
    curves: dict[str, list[Point]] = {}
    leads: dict[str, list[Point]] = {}
    for row in curve.rows:
        point = Point(row.plays, row.ndcg, row.ndcg_low, row.ndcg_high)
        curves.setdefault(row.method, []).append(point)
        if row.method in (warm_up.CONTENT, warm_up.BLEND):
            lead = (row.ensemble_ahead or 0.0, row.ahead_low or 0.0, row.ahead_high or 0.0)
            leads.setdefault(row.method, []).append(Point(row.plays, *lead))
    warm_up_picture(folder / f"{name}.png", curves, leads)
    log.info(f"wrote {folder / name}.json, {name}.csv, {name}.png and {name}_by_user.parquet")
