"""The model card: what a saved model reads, how it did in a test, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from coldstart.errors import InputError
from coldstart.evaluation.evaluate import OURS
from coldstart.evaluation.results import HEADERS, Results, Row, read_results, results_of
from coldstart.evaluation.tables import caption, table
from coldstart.evaluation.uncertainty import LEVEL
from coldstart.files import StrPath
from coldstart.model.checkpoint import weights_id
from coldstart.model.net import Net
from coldstart.runs.config import read_config
from coldstart.targets.track_factors import TrackFactors

TAGS = ("music", "recommendation", "cold-start", "music-information-retrieval")

NO_RESULTS = (
    "There are none: this model was saved without the results of a test, so nothing is known here "
    "of how good it is."
)


def card(
    model: Net, results: StrPath | Mapping[str, Any] | None = None, name: str = "FOLDER"
) -> str:
    """Write a model card in Markdown.

    Args:
        model: a built one.
        results: of a test of this model: as `coldstart.test` returns them, a results.json, or the
            folder of a run. The floors and rivals of the test stand beside the model's figures.
        name: the argument of `from_pretrained` in the example.

    Raises:
        InputError: the results are unreadable, not a test's, or of another model.
    """
    reads = "+".join(model.encoders)
    predicts = "track factors" if isinstance(model.target, TrackFactors) else "attributes"
    known = None if results is None else _read(results)
    figures = NO_RESULTS if known is None else _figures(model, known)
    metadata: dict[str, Any] = {"library_name": "coldstart", "tags": list(TAGS)}
    if known is not None:
        metadata["model-index"] = [{"name": name, "results": [_metadata(model, known)]}]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{head}---\n\n"
        f"# {reads} → {predicts}\n\n{_description(model)}\n\n"
        f"## What it reads\n\n{_inputs(model)}\n\n"
        f"## Figures\n\n{figures}\n\n"
        f"## Use\n\n```python\nimport coldstart as cs\n\n"
        f'model = cs.ColdStart.from_pretrained("{name}")\n'
        f'embedded = model.embed("shards")  # track_ids and values [tracks, {model.target.dim}]\n'
        "```\n"
    )


def _description(model: Net) -> str:
    facts, dim = model.facts.get("factors", {}), model.target.dim
    if not isinstance(model.target, TrackFactors):
        return (
            f"A coldstart model that estimates {dim} values a track from its content "
            f"({type(model.target).__name__})."
        )
    text = (
        f"A coldstart model. From a track's content it predicts the track's place in a "
        f"collaborative-filtering space of {dim} factors, so that a track nobody has played can be "
        "ranked beside those that everybody has."
    )
    if {"tracks_factorised", "users", "algorithm", "protocol"} <= facts.keys():
        text += (
            f"\n\nThe space: {facts['algorithm']} factorisation of {facts['tracks_factorised']:,} "
            f"tracks × {facts['users']:,} users ({facts['protocol']}; seed "
            f"{facts.get('seed', 'unknown')}). "
            f"Its id is `{facts.get('id', 'unknown')}`: the vectors mean something only beside "
            "factors of this id."
        )
    return text


def _inputs(model: Net) -> str:
    recipe, readers = model.recipe(), model.lend().readers
    rows = []
    for name, part in recipe["encoders"].items():
        fields, _ = readers[name]
        rows.append((name, part["class"], ", ".join(f"`{field}`" for field in fields)))
    precomputed = [name for name, encoder in model.encoders.items() if encoder.precomputed]
    lines = [
        tabulate(rows, headers=["input", "encoder", "field of the shards"], tablefmt="github"),
        "",
        f"Fusion: {recipe['fusion']['class']}. Parameters: {_parameters(model):,}. A track may "
        "lack some of the inputs; one that lacks all of them gets no vector.",
    ]
    if precomputed:
        lines += [
            "",
            f"{', '.join(precomputed)}: vectors that other nets have computed, which are not part "
            "of this model. Shards without them must get them first.",
        ]
    return "\n".join(lines)


def _parameters(model: Net) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _read(results: StrPath | Mapping[str, Any]) -> Results:
    """Results, with the seed of the fit in `about` if they lie in a run's folder."""
    if isinstance(results, Mapping):
        return results_of(results)
    path = Path(results)
    if path.is_dir():
        path = path / "results.json"
    about, rows = read_results(path)
    if (path.parent / "config.yaml").is_file():
        about["fit_seed"] = read_config(path.parent).get("seed_everything")
    return Results(about, rows)


def _figures(model: Net, results: Results) -> str:
    try:
        if results.about["weights"] != weights_id(model):
            raise InputError(
                "the results are of other weights than this model's: save the model that was "
                "tested (coldstart.load(RUN) gives a run's best), or test this one"
            )
        if isinstance(model.target, TrackFactors):
            return _ranking(*results)
        return _correlations(results.about)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"these are no results of a test of such a model ({error!r}); `coldstart test` writes "
            "them to results.json"
        ) from error


def _metadata(model: Net, results: Results) -> dict[str, Any]:
    """The model's own figures in the hub's form of evaluation results, which its pages show.

    Figures of other splits or catalogues can't be compared, so the data bears the factors' id.
    """
    about = results.about
    if isinstance(model.target, TrackFactors):
        row = next((row for row in results.rows if row.method == OURS), results.rows[0])
        cut_offs = {"recall": about["k"], "ndcg": about["k"], "map": about["map_k"]}
        task = {"type": "recommendation", "name": "recommendation of tracks that nobody has played"}
        data = f"{about['candidates']:,} cold candidates, {about['users']:,} users"
        space = about["factors"].get("id", "unknown")
        metrics = [
            {
                "type": name,
                "value": round(value, 4),
                "name": HEADERS[name],
                "args": {"k": k, "low": getattr(row, f"{name}_low")}
                | {"high": getattr(row, f"{name}_high"), "level": LEVEL},
            }
            for name, k in cut_offs.items()
            if (value := getattr(row, name)) is not None
        ]
        kind = f"factors {space}"
    else:
        task = {"type": "regression", "name": "human attributes from content"}
        data, kind = f"{about['tracks']:,} test tracks", f"{len(about['correlation'])} attributes"
        value = round(float(about["mean_correlation"]), 4)
        metrics = [{"type": "pearsonr", "value": value, "name": "mean correlation"}]
    return {
        "task": task,
        "dataset": {"type": kind, "name": data, "split": "test"},
        "metrics": metrics,
    }


def _ranking(about: dict[str, Any], rows: list[Row]) -> str:
    if not rows:
        raise LookupError("no rows")
    seeds = [f"evaluation {about['seed']}", f"factorisation {about['factors'].get('seed')}"]
    if about.get("fit_seed") is not None:
        seeds.append(f"fit {about['fit_seed']}")
    text = (
        "One fit (coldstart's rows), beside floors and simple rivals from the same split:\n\n"
        f"{table(rows)}\n\n{caption(about)}.\n\n"
        f"Recall and NDCG at k = {about['k']}, MAP at k = {about['map_k']}. "
        f"Seeds: {', '.join(seeds)}. Figures of other splits, candidates or users can't be "
        "compared with these."
    )
    if about.get("drop"):
        text += f" In this test no track had {', '.join(about['drop'])}."
    return text


def _correlations(about: dict[str, Any]) -> str:
    correlation: dict[str, float] = about["correlation"]
    rows = [*correlation.items(), ("mean", about["mean_correlation"])]
    return (
        f"Correlation of estimated with human attributes over {about['tracks']:,} test tracks "
        "(0 = no better than chance):\n\n"
        f"{tabulate(rows, headers=['attribute', 'correlation'], tablefmt='github', floatfmt='.3f')}"
    )
