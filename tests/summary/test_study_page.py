"""The pages of a benchmark and of an ablation, with planted tables."""

import json
from pathlib import Path
from typing import Any

import pytest

from coldstart.errors import InputError
from coldstart.reporting.page import document
from coldstart.summary.study_page import Study, study_of, study_page


def method(name: str, kind: str, ndcg: float, beside: dict[str, float] | None) -> dict[str, Any]:
    return {
        "method": name,
        "kind": kind,
        "input": "mgp",
        "recall": ndcg,
        "ndcg": ndcg,
        "map": ndcg,
        "ndcg_low": ndcg - 0.01,
        "ndcg_high": ndcg + 0.01,
        "seconds": 1.5,
        "by_seed": [{"ndcg": ndcg}, {"ndcg": ndcg}],
        "chosen": ["", ""],
        "beside_the_best_rival": beside,
    }


def benchmark(low: float, high: float) -> dict[str, Any]:
    beside = {"mean": (low + high) / 2, "low": low, "high": high, "behind": 0.0, "p": 0.01}
    return {
        "k": 20,
        "map_k": 500,
        "candidates": "cold",
        "split": "artist",
        "seeds": [0, 1],
        "splits": [{"seed": 0, "users": 100}, {"seed": 1, "users": 120}],
        "best_rival": "ridge",
        "table": [
            method("<b>kernel</b>", "model", 0.54, beside),
            method("ridge", "rival", 0.52, None),
            method("random", "rival", 0.03, {"mean": -0.49, "low": -0.5, "high": -0.48}),
        ],
        "runs": [],
    }


def ablated(name: str, method: str, ndcg: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(("tested_on", "trained_on", "training", "fusion"), ""),
        "input": name,
        "method": method,
        "seeds": 3,
        "recall": ndcg,
        "ndcg": ndcg,
        "map": ndcg,
        "ndcg_spread": 0.01,
    }


def ablation() -> dict[str, Any]:
    gain = {"input": "audio+mlg", "best_part": "mlg", "ndcg_gain": 0.031}
    rows = [ablated("audio+mlg", "coldstart", 0.4), ablated("audio", "coldstart", 0.3)]
    rows += [ablated("audio", "ridge", 0.45), ablated("–", "random", 0.03)]
    tested = {"": {"candidates": [40], "users": [90, 95]}}
    about = {"k": 20, "map_k": 500, "seeds": [0, 1, 2], "tested_on": tested}
    return {"table": rows, "fusing": [gain], "listeners": [], "about": about, "runs": []}


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.01, 0.03, "<b>kernel</b>: ahead of the best simple rival by 0.020 NDCG@20"),
        (-0.01, 0.03, "<b>kernel</b>: not sure to be ahead of the best simple rival"),
        (-0.03, -0.01, "<b>kernel</b>: behind the best simple rival by 0.020 NDCG@20"),
    ],
)
def test_a_benchmark_s_answer(low: float, high: float, says: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(benchmark(low, high)))
    study = study_of(tmp_path)
    assert study is not None
    assert study.kind == "benchmark"
    page = study_page(tmp_path, study)
    assert page.lead.title == says
    text = document(page)
    assert "&lt;b&gt;kernel" in text
    assert "<b>kernel" not in text
    for shown in ("0.540", "0.530 to 0.550", "seeds", "100 to 120 listeners each", "1.500"):
        assert shown in text


def test_an_ablation_s_answer_claims_no_certainty(tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text(json.dumps(ablation()))
    study = study_of(tmp_path)
    assert study is not None
    page = study_page(tmp_path, study)
    assert page.lead.title == "audio+mlg is 0.050 behind the best simple rival"
    text = document(page)
    assert "no intervals over listeners" in text
    assert "+0.031" in text


def test_an_empty_table_is_said_to_be_empty() -> None:
    for kind, content in (("benchmark", benchmark(0, 1)), ("ablation", ablation())):
        page = study_page(Path("study"), Study(kind, {**content, "table": [], "fusing": []}))
        assert page.lead.title == "Nothing has finished yet"
        assert page.missing
        document(page)


def test_other_folders_are_no_studies_and_damaged_ones_are_named(tmp_path: Path) -> None:
    assert study_of(tmp_path) is None
    (tmp_path / "ablation.json").write_text('{"table": 5}')
    with pytest.raises(InputError, match=r"ablation\.json"):
        study_of(tmp_path)
    (tmp_path / "config.yaml").touch()  # a run's
    assert study_of(tmp_path) is None
