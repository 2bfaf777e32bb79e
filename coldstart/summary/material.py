"""What there is to tell of a run: the files in its folder, and the run itself, once asked for."""

from __future__ import annotations

import csv
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.evaluation.results import Results, Row, read_results
from coldstart.evaluation.tables import RANKED_BY
from coldstart.evaluation.warm_up import WarmUpRow
from coldstart.files import StrPath
from coldstart.forms.content import (
    anything,
    at_least,
    json_in,
    list_of,
    must_have_form,
    number,
    one_of_these,
    or_none,
    record,
    table_of,
    text,
    whole,
)
from coldstart.retrieval.popularity import Track, tracks_by_id
from coldstart.retrieval.recommender import Recommender
from coldstart.runs.config import read_config
from coldstart.runs.first_stage import first_stage_of
from coldstart.summary.genres import genres_of

log = logging.getLogger(__name__)

AGAIN = "test again: coldstart test --run RUN"

_NUMBER = or_none(number)

ABOUT = record(
    {
        "k": at_least(1, whole),
        "map_k": at_least(1, whole),
        "candidates": whole,
        "users": whole,
        "seed": whole,
        "protocol": text,
    },
    {
        "beside_the_best_rival": or_none(
            record(
                {"rival": text, "mean": number, "low": number, "high": number},
                {"p": number},
                others=True,
            )
        ),
        "chance": table_of(number),
        "drop": list_of(text),
        "factors": or_none(table_of(anything)),
        "cold_candidates": whole,
        "warm_candidates": whole,
        "lengths": one_of_these(*RANKED_BY),
    },
    others=True,
)
"""The form of what stands beside the rows of results.json, as far as a page asks for it."""

CORRELATIONS = record(
    {"tracks": whole, "mean_correlation": number, "correlation": table_of(number)}, others=True
)
"""The same of a run that predicts attributes, and has no rows."""

ROWS = list_of(
    record(
        {"method": text, "input": text},
        {name: _NUMBER for name in Row._fields if name not in ("method", "input")},
    )
)
"""The form of the rows."""

FIT = record(
    {"epochs": whole, "seconds": at_least(0), "device": text},
    {
        "parameters": whole,
        "validations": list_of(record({"epoch": at_least(1, whole), "step": whole}, others=True)),
    },
    others=True,
)
"""The form of fit.json."""

WARM_UP = record(
    {
        "rows": list_of(
            record(
                {
                    "plays": at_least(0, whole),
                    "method": text,
                    "ndcg": number,
                    "ndcg_low": number,
                    "ndcg_high": number,
                    "ensemble_ahead": _NUMBER,
                    "ahead_low": _NUMBER,
                    "ahead_high": _NUMBER,
                    "users": at_least(0, whole),
                }
            ),
            least=1,
        ),
        "tracks": whole,
        "draws": whole,
        "protocol": or_none(text),
        "seed": whole,
    },
    others=True,
)
"""The form of warm_up.json."""


class Material:
    """A run's folder: each part is read once, when a section first asks for it.

    Attributes:
        folder: of the run.
        play: whether its sound may be on the page.
        problem: why the run itself can't be asked; empty if it can, or hasn't been yet.
    """

    def __init__(
        self,
        folder: StrPath,
        *,
        shards: str | None = None,
        factors: str | None = None,
        play: bool = False,
    ) -> None:
        """For a run, and its data if that lies elsewhere now.

        Raises:
            InputError: it is no run.
        """
        self.folder, self.play, self.problem = Path(folder), play, ""
        self._shards, self._factors = shards, factors
        self.config = read_config(folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.absolute().name

    @property
    def inputs(self) -> str:
        """What the model reads, such as `audio+mlg`."""
        return "+".join(self.config["model"]["encoders"])

    @cached_property
    def results(self) -> Results | None:
        """The test's figures; None: it wasn't tested.

        Raises:
            InputError: the file is damaged.
        """
        return self._results("results")

    @cached_property
    def mixed(self) -> Results | None:
        """The same of new and known tracks in one list."""
        return self._results("results_mixed")

    def _results(self, name: str) -> Results | None:
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        results = read_results(path)
        must_have_form(results.about, ABOUT if results.rows else CORRELATIONS, path, AGAIN)
        must_have_form([row._asdict() for row in results.rows], ROWS, path, AGAIN)
        return results

    @cached_property
    def fit(self) -> dict[str, Any] | None:
        """What fit.json says; None: there is none."""
        return _fit_of(self.folder)

    @cached_property
    def first_stage(self) -> dict[str, list[dict[str, Any] | None]]:
        """Encoder → of each of its first stage's nets, what fit.json says; None where it is gone.

        Empty for a run of one stage.
        """
        return {
            name: [_fit_of(Path(run)) for run in stage.runs]
            for name, stage in first_stage_of(self.folder).items()
        }

    @cached_property
    def warm_up(self) -> tuple[dict[str, Any], list[WarmUpRow]] | None:
        """What must be known of the warm-up curve, and its rows; None: it wasn't measured."""
        path, remedy = self.folder / "warm_up.json", "measure it again: coldstart test --warm-up"
        if not path.is_file():
            return None
        content = json_in(path, remedy)
        must_have_form(content, WARM_UP, path, remedy)
        return content, [WarmUpRow(**row) for row in content["rows"]]

    @cached_property
    def losses(self) -> list[tuple[int, float]]:
        """Step and loss on the training tracks, as the logger wrote them; empty without one."""
        path = self.folder / "logs" / "fit" / "metrics.csv"
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            found = [
                (int(row["step"]), float(row["train_loss"]))
                for row in rows
                if row.get("train_loss")
            ]
        except (LookupError, TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{path}: not as the logger writes it ({error}); delete it, or fit again"
            ) from error
        return [(step, loss) for step, loss in found if np.isfinite(loss)]

    @cached_property
    def recommender(self) -> Recommender | None:
        """The run, loaded; None, with a reason in `problem`, if it can't be.

        New tracks are where their content puts them, for the page shows what content is worth:
        those of the test have plays, which would put them elsewhere.
        """
        try:
            return Recommender(
                self.folder, shards=self._shards, factors=self._factors, placement="either"
            )
        except InputError as error:
            self.problem = str(error)
            log.info(f"{self.folder}: the run itself can't be asked: {error}")
            return None

    @cached_property
    def genres(self) -> dict[str, str]:
        """Track id → its first genre, of tracks that have one."""
        if self.recommender is None:
            return {}
        return genres_of(self.recommender.run.data.shards)

    @cached_property
    def tracks(self) -> dict[str, Track]:
        """Every track by id, with its place on the curve of popularity; empty without factors."""
        if self.recommender is None or self.recommender.catalogue.factors is None:
            return {}
        return tracks_by_id(self.recommender.run.data.shards, self.recommender.catalogue.factors)

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row for each place of the catalogue."""
        assert self.recommender is not None
        return self.recommender.catalogue.table

    @cached_property
    def plays(self) -> NDArray[np.float64]:
        """Plays of each of `tracks`."""
        return np.array([track.plays for track in self.tracks.values()], dtype=np.float64)


def _fit_of(run: Path) -> dict[str, Any] | None:
    path, remedy = run / "fit.json", "delete it, or fit again"
    if not path.is_file():
        return None
    content: dict[str, Any] = json_in(path, remedy)
    must_have_form(content, FIT, path, remedy)
    return content
