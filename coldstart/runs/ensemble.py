"""A run's ensemble: its numbers are chosen when they are first needed, and kept in the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coldstart.errors import InputError
from coldstart.evaluation.calibration import FEWEST, Calibration, calibrate
from coldstart.factors.factors import Factors
from coldstart.factors.folding import check_foldable
from coldstart.factors.model_space import in_model_space
from coldstart.files import StrPath, is_write_refused, write_json
from coldstart.model.checkpoint import weights_id
from coldstart.model.ensemble import Ensemble, EnsembleSettings
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions
from coldstart.runs.config import read_config
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import Run, open_run
from coldstart.shards.track_rows import artists_of

log = logging.getLogger(__name__)

FILE = "ensemble.json"
"""In a run's folder."""

VERSION = 1


def ensemble_of(
    run: Path,
    model: Net,
    predictions: Predictions,
    factors: Factors,
    tracks: Iterable[Mapping[str, Any]],
) -> Calibration:
    """The numbers with which a run joins content and plays.

    They are chosen on the run's validation tracks, once. A run without any takes those of the run
    that it is like (`--like-run`); without that, the defaults, and says so.

    Args:
        run: the folder.
        model: its model.
        predictions: of its validation tracks, at least.
        factors: of its training, without updates: as factorised, or in the model's space.
        tracks: the dataset's, with their artists.

    Raises:
        InputError: the configuration turns the ensemble off, or the factors lack what it needs.
    """
    settings = settings_of_run(run)
    if settings is None:
        raise InputError(f"{run}: its configuration says `ensemble: null`, so it has none")
    made_from = {
        "version": VERSION,
        "weights": weights_id(model),
        "factors": factors.about.get("id"),
        "settings": {"strength": settings.strength, "ahead": settings.ahead},
    }
    stored = _stored(run / FILE, made_from)
    if stored is not None:
        return stored
    if factors.narrow is None:
        factors = in_model_space(factors, model.listening)
    found = calibrate(predictions, factors, artists_of(tracks), settings)
    if found is None:
        found = _of_like_run(run) or _default(settings)
    _keep(run, found, made_from)
    return found


def run_ensemble(run: Run) -> Calibration:
    """The same of a run that is open, with its own factors.

    Raises:
        InputError: it has no factors, or as in `ensemble_of`.
    """
    place = run.places["factors"]
    if place is None:
        raise InputError(
            f"{run.folder}: without factors there are no plays to join; name --factors"
        )
    factors = Factors.load(place)
    check_foldable(factors, str(place))  # also where the numbers are stored
    tracks = run.data.shards.tracks_in_use()
    return ensemble_of(run.folder, run.model, predictions_of(run), factors, tracks)


def settings_of_run(run: StrPath) -> EnsembleSettings | None:
    """What a run's configuration says of its ensemble; None: it has none.

    Raises:
        InputError: it says something else.
    """
    section = read_config(run).get("ensemble", {})
    if section is None:
        return None
    try:
        return EnsembleSettings(**section)
    except TypeError as error:
        raise InputError(
            f"{Path(run) / 'config.yaml'}: `ensemble` has strength and ahead, numbers or null "
            f"({error})"
        ) from error


def read_ensemble(run: StrPath) -> Calibration | None:
    """The numbers that a run has chosen; None before it has.

    Raises:
        InputError: the file can't be read.
    """
    path = Path(run) / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        return Calibration(Ensemble.of(content["ensemble"]), dict(content["chosen_on"]))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not readable ({error!r}); remove it, and the numbers are chosen anew"
        ) from error


def _stored(path: Path, made_from: Mapping[str, Any]) -> Calibration | None:
    """What was chosen for the same model, factors and settings."""
    found = read_ensemble(path.parent)
    if found is None or json.loads(path.read_bytes()).get("made_from") != made_from:
        return None
    # Defaults don't stay: with other --shards there may be no validation tracks, with the own some.
    return None if "note" in found.about else found


def _of_like_run(run: Path) -> Calibration | None:
    """The numbers of the run that this one is like; chosen now, if they haven't been yet."""
    like = read_config(run).get("like_run")
    if not like:
        return None
    try:
        found = run_ensemble(open_run(like))
    except InputError as error:
        log.warning(f"the ensemble of {like}, which {run} is like, can't be had: {error}")
        return None
    return Calibration(found.ensemble, {**found.about, "like_run": str(like)})


def _default(settings: EnsembleSettings) -> Calibration:
    """The default numbers, with a word."""
    ensemble = Ensemble()
    given = {"strength": settings.strength, "ahead": settings.ahead}
    ensemble = ensemble._replace(**{k: v for k, v in given.items() if v is not None})
    note = f"nothing: there are fewer than {FEWEST} validation tracks with plays"
    log.warning(
        f"the ensemble's numbers were chosen on {note}; the defaults are taken: content counts as "
        f"much as the plays of {ensemble.strength:g} listeners"
    )
    return Calibration(ensemble, {"note": note})


def write_ensemble(
    folder: StrPath, found: Calibration, made_from: Mapping[str, Any] | None = None
) -> None:
    """Write what `read_ensemble` reads.

    Args:
        folder: of a run, or of a model to be shared.
        found: the numbers.
        made_from: what they depend on.
    """
    content = {"ensemble": found.ensemble._asdict(), "chosen_on": found.about}
    write_json(Path(folder) / FILE, {**content, "made_from": dict(made_from or {})})


def _keep(run: Path, found: Calibration, made_from: Mapping[str, Any]) -> None:
    """Write the file, if the run can be written to."""
    try:
        write_ensemble(run, found, made_from)
    except OSError as error:
        if not is_write_refused(error):
            raise
