"""The card of a saved model: its figures, and what they must be read with."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers import PythonRun

import coldstart as cs


def test_the_card_gives_figures_with_what_they_must_be_read_with(
    python_run: PythonRun, tmp_path: Path
) -> None:
    python_run.model.save_pretrained(tmp_path / "m", results=python_run.run)
    text = (tmp_path / "m" / "README.md").read_text()
    results = json.loads((python_run.run / "results.json").read_text())
    assert text.startswith("---\nlibrary_name: coldstart\n")
    for row in results["rows"]:
        assert f"| {row['method']} " in text
        assert f"{row['ndcg']:.3f}" in text
    for wanted in (
        f"{results['candidates']} cold candidates",
        f"{results['users']} users with a relevant one",
        "strict cold start",
        "k = 20",
        "evaluation 0, factorisation 0",
        "`mgp.npy`",
        "Gated",
        results["factors"]["id"],
    ):
        assert wanted in text
    assert str(python_run.world.root) not in text
    assert str(tmp_path) not in text
    assert str(python_run.world.root) not in (tmp_path / "m" / "config.json").read_text()


def test_the_hub_reads_the_figures_of_a_card(python_run: PythonRun, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    folder = python_run.model.save_pretrained(tmp_path / "m", results=python_run.run)
    data = hub.ModelCard.load(folder / "README.md").data
    assert (data.library_name, data.model_name) == ("coldstart", "m")
    assert "cold-start" in data.tags
    results = json.loads((python_run.run / "results.json").read_text())
    own = next(row for row in results["rows"] if row["method"] == "coldstart")
    found = {each.metric_type: each for each in data.eval_results}
    assert set(found) == {"recall", "ndcg", "map"}
    for name, each in found.items():
        assert each.metric_value == pytest.approx(own[name], abs=1e-4)
        assert each.metric_args["low"] == pytest.approx(own[f"{name}_low"])
        assert each.dataset_type == f"factors {results['factors']['id']}"
        assert f"{results['users']} users" in each.dataset_name
    assert (found["map"].metric_args["k"], found["ndcg"].metric_name) == (500, "NDCG@20")
    # What it writes again is what we wrote: there is nothing in it that the hub doesn't know.
    assert hub.ModelCardData(**yaml.safe_load(str(data))).to_dict() == data.to_dict()


def test_a_card_without_results_says_so(python_run: PythonRun, tmp_path: Path) -> None:
    text = (python_run.model.save_pretrained(tmp_path) / "README.md").read_text()
    assert "There are none" in text
    assert "model-index" not in text
    assert "random" not in text


def test_a_card_says_what_a_test_left_out(python_run: PythonRun, tmp_path: Path) -> None:
    results = json.loads((python_run.run / "results.json").read_text()) | {"drop": ["genres"]}
    text = (python_run.model.save_pretrained(tmp_path, results) / "README.md").read_text()
    assert "no track had genres" in text


def test_results_must_be_of_the_model(python_run: PythonRun, tmp_path: Path) -> None:
    results = json.loads((python_run.run / "results.json").read_text())
    other = cs.load(python_run.run)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(cs.InputError, match="other weights"):
        other.save_pretrained(tmp_path / "m", results)
    del results["rows"]
    (tmp_path / "results.json").write_text("[")
    for wrong, message in (
        (results, "no results of a test"),
        ({}, "no results of a test"),
        (tmp_path / "absent.json", "there are no results"),
        (tmp_path, "not readable"),
    ):
        with pytest.raises(cs.InputError, match=message):
            python_run.model.save_pretrained(tmp_path / "m", wrong)
    assert not (tmp_path / "m").exists()


def test_a_card_says_that_other_nets_belong_to_the_model(tmp_path: Path) -> None:
    model = cs.ColdStart({"audio": cs.Embedding("audio_vectors")})
    facts = {"audio_vectors": {"width": 3, "mean": [0.0] * 3, "std": [1.0] * 3}}
    model.build((facts | {"factors": {"factors": 4}}).__getitem__)
    text = (model.save_pretrained(tmp_path) / "README.md").read_text()
    assert "audio: vectors that other nets have computed" in text
