"""The model card: what a saved model reads, how it did in a test, and how to use it."""

from __future__ import annotations

from coldstart.errors import InputError
from coldstart.evaluation.results import Row
from coldstart.evaluation.results import caption
from coldstart.evaluation.results import table
from coldstart.files import StrPath
from coldstart.model.checkpoint import weights_id
from coldstart.model.net import Net
from coldstart.runs.config import read_config
from coldstart.targets.track_factors import TrackFactors
from collections.abc import Mapping
from pathlib import Path
from tabulate import tabulate
from typing import Any
import json

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
        name: what `from_pretrained` will be given.

    Raises:
        InputError: the results are unreadable, not a test's, or of another model.
    """
    reads = "+".join(model.encoders)
    predicts = "track factors" if isinstance(model.target, TrackFactors) else "attributes"
    tags = "\n".join(f"- {tag}" for tag in TAGS)
    figures = NO_RESULTS if results is None else _figures(model, _read(results))
    return (
        f"---\nlibrary_name: coldstart\ntags:\n{tags}\n---\n\n"
        f"# {reads} → {predicts}\n\n{_what(model)}\n\n"
        f"## What it reads\n\n{_inputs(model)}\n\n"
        f"## Figures\n\n{figures}\n\n"
        f"## Use\n\n```python\nimport coldstart as cs\n\n"
        f'model = cs.ColdStart.from_pretrained("{name}")\n'
        f'embedded = model.embed("shards")  # track_ids and values [tracks, {model.target.dim}]\n'
        "```\n"
    )


def _what(model: Net) -> str:
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
    recipe = model.recipe()
    rows = [
        (name, part["class"], ", ".join(f"`{field}`" for field in model.lend().readers[name][0]))
        for name, part in recipe["encoders"].items()
    ]
    made = [name for name, encoder in model.encoders.items() if encoder.precomputed]
    lines = [
        tabulate(rows, headers=["input", "encoder", "field of the shards"], tablefmt="github"),
        "",
        f"Fusion: {recipe['fusion']['class']}. Parameters: {_parameters(model):,}. A track may "
        "lack some of the inputs; one that lacks all of them gets no vector.",
    ]
    if made:
        lines += [
            "",
            f"{', '.join(made)}: vectors that other nets have computed, which are not part of this "
            "model. Shards without them must get them first.",
        ]
    return "\n".join(lines)


def _parameters(model: Net) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _read(results: StrPath | Mapping[str, Any]) -> Mapping[str, Any]:
    """Results, with the seed of the fit where the run's folder tells it."""
    if isinstance(results, Mapping):
        return results
    path = Path(results)
    if path.is_dir():
        path = path / "results.json"
    if not path.is_file():
        raise InputError(f"{path}: there are no results; `coldstart test --run RUN` writes them")
    try:
        made = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not readable as results ({error})") from error
    if (path.parent / "config.yaml").is_file():
        made["fit_seed"] = read_config(path.parent).get("seed_everything")
    return made


def _figures(model: Net, results: Mapping[str, Any]) -> str:
    try:
        if results["weights"] != weights_id(model):
            raise InputError(
                "the results are of other weights than this model's: save the model that was "
                "tested (coldstart.load(RUN) gives a run's best), or test this one"
            )
        if isinstance(model.target, TrackFactors):
            return _ranking(results)
        return _correlations(results)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"these are no results of a test of such a model ({error!r}); `coldstart test` writes "
            "them to results.json"
        ) from error


def _ranking(results: Mapping[str, Any]) -> str:
    rows = [Row(*row.values()) for row in results["rows"]]
    seeds = [f"evaluation {results['seed']}", f"factorisation {results['factors'].get('seed')}"]
    if results.get("fit_seed") is not None:
        seeds.append(f"fit {results['fit_seed']}")
    text = (
        "One fit (coldstart's rows), beside floors and simple rivals from the same split:\n\n"
        f"{table(rows)}\n\n{caption(dict(results))}.\n\n"
        f"Recall and NDCG at k = {results['k']}, MAP at k = {results['map_k']}. "
        f"Seeds: {', '.join(seeds)}. Figures of other splits, candidates or users can't be "
        "compared with these."
    )
    if results.get("drop"):
        text += f" In this test no track had {', '.join(results['drop'])}."
    return text


def _correlations(results: Mapping[str, Any]) -> str:
    correlation: Mapping[str, float] = results["correlation"]
    rows = [*correlation.items(), ("mean", results["mean_correlation"])]
    return (
        f"Correlation of estimated with human attributes over {results['tracks']:,} test tracks "
        "(0 = no better than chance):\n\n"
        f"{tabulate(rows, headers=['attribute', 'correlation'], tablefmt='github', floatfmt='.3f')}"
    )
