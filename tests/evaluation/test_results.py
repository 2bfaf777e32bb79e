"""What a test writes down."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from coldstart.errors import InputError
from coldstart.evaluation.exposure import Exposure
from coldstart.evaluation.results import (
    HEADERS,
    Line,
    Row,
    chance_of,
    read_results,
    row_of,
    write_results,
)
from coldstart.evaluation.tables import caption, table


def test_results_are_written_with_everything_they_must_be_read_with(tmp_path: Path) -> None:
    about: dict[str, Any] = {"candidates": 3, "users": 2, "tracks_with_vector": 3, "seed": 0}
    about["protocol"] = "strict cold start"
    rows = [Row("coldstart", "mgp", 0.5, 0.1, 0.2, 0.3)]
    write_results(tmp_path, about, rows)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["rows"][0]["recall"] == 0.1
    flat = pl.read_csv(tmp_path / "results.csv")
    assert flat["candidates"][0] == 3
    assert flat["ndcg"][0] == 0.2
    assert "cosine distance" not in table([rows[0]._replace(cosine=None)])
    assert read_results(tmp_path / "results.json") == (about, rows)


def test_earlier_results_with_headers_as_keys_are_read(tmp_path: Path) -> None:
    row = {"method": "coldstart", "input": "mgp", "cosine distance": 0.5, "Recall@20": 0.1}
    row |= {"NDCG@20": 0.2, "MAP@500": 0.3, "NDCG@20 low": 0.1, "coverage@20": 0.9}
    comparison = {"rival": "ridge", "figure": "NDCG@20", "mean": 0.1}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"k": 20, "beside_the_best_rival": comparison, "rows": [row]}))
    about, rows = read_results(path)
    assert rows == [Row("coldstart", "mgp", 0.5, 0.1, 0.2, 0.3, ndcg_low=0.1, coverage=0.9)]
    assert about == {"k": 20, "beside_the_best_rival": {**comparison, "figure": "ndcg"}}


@pytest.mark.parametrize("text", ["[", "[]", '{"rows": [{"method": "x"}]}', '{"rows": 1}'])
def test_a_file_without_results_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(InputError, match="there are no results"):
        read_results(path)
    path.write_text(text)
    with pytest.raises(InputError, match="not readable as results"):
        read_results(path)


def test_the_columns_are_the_rows_fields() -> None:
    assert tuple(HEADERS) == Row._fields


def test_figures_of_nobody_are_none_and_fit_into_json() -> None:
    nobody = Line(
        "ridge",
        "mgp",
        None,
        torch.zeros(3, 0),
        torch.zeros(2, 2, 0),
        Exposure(None, None),
        torch.zeros(5, 0),
    )
    row = row_of(nobody, ("cold", "warm"))
    assert (row.recall, row.ndcg, row.map, row.ndcg_cold) == (None, None, None, None)
    json.dumps(row._asdict(), allow_nan=False)
    assert "ridge" in table([row])


def test_figures_that_chance_alone_reaches_are_named_beside_the_table() -> None:
    random = Row("random", "–", None, recall=1.0, ndcg=0.5, map=0.49)
    assert chance_of([random]) == {"recall": 1.0, "ndcg": 0.5}
    assert chance_of([random._replace(recall=0.2, ndcg=None)]) == {}
    assert chance_of([random._replace(method="ridge")]) == {}
    about: dict[str, Any] = {
        "candidates": 12,
        "users": 5,
        "users_without_relevant": 0,
        "users_without_training_listens": 1,
        "tracks_nothing_known": 0,
        "tracks_with_vector": 12,
        "beside_the_best_rival": None,
        "yardstick": "folded-in vectors",
        "protocol": "strict cold start",
        "seed": 0,
        "chance": chance_of([random]),
        "factors": {
            "tracks_factorised": 30,
            "users": 6,
            "users_without_training_listens": 1,
            "factors": 64,
        },
    }
    notes = caption(about).splitlines()[:2]
    assert notes[0].startswith(
        "note: chance alone, a random order, has Recall@20 1.000 and NDCG@20"
    )
    assert "with these 12 candidates" in notes[0]
    assert notes[1].startswith("note: 30 training tracks of 5 listeners can't fill 64 factors")
    enough = {**about, "factors": {**about["factors"], "factors": 5}}
    del enough["chance"]
    assert "note" not in caption(enough)
