"""The plan of a benchmark: a short YAML file, read and checked before anything runs."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from coldstart.commands.factorize import factorize
from coldstart.commands.split import Method
from coldstart.errors import InputError
from coldstart.evaluation.rivals.by_content import CONTENT_RIVALS
from coldstart.evaluation.rivals.by_factors import FACTOR_RIVALS
from coldstart.evaluation.rivals.packages import OTHERS, need
from coldstart.evaluation.tasks import TestCandidates
from coldstart.files import file_hash, fingerprint, write_json
from coldstart.runs.config import find_config

FLOORS = ("random", "popularity")

OWN_RIVALS = (*FLOORS, *CONTENT_RIVALS, *FACTOR_RIVALS)
"""Names of the rivals that need no other package."""

RIVALS = (*OWN_RIVALS, *OTHERS)

FOR_ALL = ("algorithm", "hold_out", "until")
"""Options of `factorize` that decide what is ranked for whom: one choice for all models."""

FACTORIZE = {
    name: parameter.default
    for name, parameter in inspect.signature(factorize).parameters.items()
    if name not in ("listens", "out", "splits", "strict", "seed", "skip_broken")
}
"""Options of `factorize` that a plan may have, and their defaults."""


class PlannedModel(NamedTuple):
    """A model of a plan.

    Attributes:
        config: a fit's configuration, as it was read.
        factorize: options of its factorisation that differ from the defaults.
        settings: flags of its fit.
        stages: 1 or 2; None: as the fit chooses.
    """

    config: dict[str, Any]
    factorize: dict[str, Any]
    settings: dict[str, Any]
    stages: Literal[1, 2] | None

    @property
    def factors(self) -> str:
        """Name of its factorisation's folder: equal options, equal name."""
        return factors_name(self.factorize)


class Plan(NamedTuple):
    """A plan.

    Attributes:
        tracks: path of the track table.
        listens: path of the listening log.
        attributes: tables of attributes, by modality.
        split: how tracks are split.
        seeds: of split, factorisation and fit alike.
        candidates: cold, or mixed with warm ones.
        factorize: options of the rivals' factorisation, and of models that don't choose their own.
        content: encoders that describe the content to the rivals; empty: all that can be read as
            it is.
        models: by name.
        rivals: names.
    """

    tracks: str
    listens: str
    attributes: dict[str, str]
    split: Method
    seeds: list[int]
    candidates: TestCandidates
    factorize: dict[str, Any]
    content: dict[str, Any]
    models: dict[str, PlannedModel]
    rivals: list[str]

    @property
    def factorisations(self) -> dict[str, dict[str, Any]]:
        """Each different one, once: folder's name → options."""
        all_options = [model.factorize for model in self.models.values()]
        # The defaults that no model has are not factorised for the rivals alone.
        if self.factorize or not self.models:
            all_options.append(self.factorize)
        return {factors_name(options): options for options in all_options}

    def as_dict(self) -> dict[str, Any]:
        """Everything that decides the outcome, as JSON holds it; of tables their SHA-256."""
        tables = {"tracks": self.tracks, "listens": self.listens, **self.attributes}
        content = self._asdict() | {
            "models": {name: model._asdict() for name, model in self.models.items()},
            "hashes": {name: file_hash(path) for name, path in tables.items()},
        }
        plain: dict[str, Any] = json.loads(json.dumps(content))
        return plain


def factors_name(options: Mapping[str, Any]) -> str:
    """A short name of a factorisation's folder, by its options."""
    return fingerprint(dict(options))[:8]


def save_plan(plan: Plan, root: Path) -> None:
    """Write plan.json; a folder is for one plan, as its parts are kept and must fit together.

    Raises:
        InputError: the folder has another plan.
    """
    path, content = root / "plan.json", plan.as_dict()
    if not path.is_file():
        write_json(path, content)
        return
    earlier = json.loads(path.read_bytes())
    if changes := [key for key in content if earlier.get(key) != content[key]]:
        raise InputError(
            f"{root}: holds the benchmark of another plan ({', '.join(changes)} differ); choose "
            "another --out"
        )


def read_plan(path: str) -> Plan:
    """Read a plan; relative paths are relative to its folder.

    Raises:
        InputError: there is no such file, or a key is wrong: which, and what to do.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such plan")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    try:
        return _plan(_mapping("the plan", content), file.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plan(content: dict[str, Any], folder: Path) -> Plan:
    _check_keys("", content, Plan._fields)
    for key in ("tracks", "listens"):
        if key not in content:
            raise InputError(f"{key} is missing: name the table, such as `{key}: {key}.parquet`")
    attributes = _mapping("attributes", content.get("attributes", {}))
    split, candidates = content.get("split", "random"), content.get("candidates", "cold")
    _check_choice("split", split, get_args(Method))
    _check_choice("candidates", candidates, get_args(TestCandidates))
    seeds = _seeds(content.get("seeds", [0, 1, 2]))
    rivals = _rivals(content.get("rivals", list(OWN_RIVALS)))
    factorize_options = _options("factorize", content.get("factorize", {}))
    models = {
        str(name): _model(str(name), about, factorize_options, folder)
        for name, about in _mapping("models", content.get("models", {})).items()
    }
    if not models and not rivals:
        raise InputError("models and rivals are both empty: name at least one")
    if "content" in content:
        configs = [_config("content", content["content"], folder)]
    else:
        configs = [model.config for model in models.values()]
    encoders = _encoders(configs)
    for name in rivals:
        if name in OTHERS:
            need(name)
    return Plan(
        tracks=_table("tracks", content["tracks"], folder),
        listens=_table("listens", content["listens"], folder),
        attributes={
            name: _table(f"attributes.{name}", path, folder) for name, path in attributes.items()
        },
        split=split,
        seeds=seeds,
        candidates=candidates,
        factorize=factorize_options,
        content=encoders,
        models=models,
        rivals=rivals,
    )


def _seeds(seeds: Any) -> list[int]:
    if not isinstance(seeds, list) or not seeds or not all(_has_type(seed, int) for seed in seeds):
        raise InputError("seeds: a list of whole numbers is needed, such as [0, 1, 2]")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds: {seeds} has one twice, or one below 0")
    return seeds


def _rivals(rivals: Any) -> list[str]:
    if not isinstance(rivals, list):
        raise InputError(f"rivals: a list of names is needed, of {', '.join(RIVALS)}")
    for name in rivals:
        _check_choice("rivals", name, RIVALS)
    if len(set(rivals)) < len(rivals):
        raise InputError(f"rivals: {rivals} names one twice")
    return rivals


def _encoders(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The encoders of all configs; of two with the same name, the first. Empty where a config names
    none, and so stands for all content.
    """
    encoders: dict[str, Any] = {}
    for config in configs:
        named = config["model"].get("encoders")
        if not named:  # such as default.yaml: all content that can be read as it is
            return {}
        encoders = {**named, **encoders}
    if not encoders:
        raise InputError(
            "content is missing: without models, name a config whose encoders describe the tracks "
            "to the rivals, such as `content: mgp.yaml`"
        )
    return encoders


def _model(
    name: str, content: Any, factorize_options: dict[str, Any], folder: Path
) -> PlannedModel:
    key = f"models.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InputError(f"{key}: a name is of letters, digits, ., _ and -")
    about = _mapping(key, content)
    _check_keys(f"{key}.", about, PlannedModel._fields)
    if "config" not in about:
        raise InputError(f"{key}.config is missing: name a fit's config, such as mgp.yaml")
    own_options = _options(f"{key}.factorize", about.get("factorize", {}))
    for option in FOR_ALL:
        if option in own_options:
            raise InputError(
                f"{key}.factorize.{option}: decides what is ranked for whom, so it is the same for "
                f"all: put it under the plan's own `factorize`"
            )
    stages = about.get("stages")
    if stages is not None:
        _check_choice(f"{key}.stages", stages, (1, 2))
    return PlannedModel(
        config=_config(f"{key}.config", about["config"], folder),
        factorize=_options(key, {**factorize_options, **own_options}),
        settings=_mapping(f"{key}.settings", about.get("settings", {})),
        stages=stages,
    )


def _options(key: str, content: Any) -> dict[str, Any]:
    """Options of `factorize`, without those that have their default value."""
    options = _mapping(key, content)
    _check_keys(f"{key}.", options, tuple(FACTORIZE))
    changes = {}
    for name, value in options.items():
        default = FACTORIZE[name]
        kind = str if default is None else type(default)
        if not _has_type(value, kind):
            raise InputError(f"{key}.{name}: {value!r} is no {kind.__name__}")
        if value != default:
            changes[name] = kind(value)
    return changes


def _has_type(value: Any, kind: type) -> bool:
    kinds = (int, float) if kind is float else (kind,)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _config(key: str, name: Any, folder: Path) -> dict[str, Any]:
    """A fit's config that lies beside the plan, or a shipped one."""
    beside = folder / str(name)
    try:
        path = beside if beside.is_file() else Path(find_config(str(name)))
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    if not path.is_file():
        raise InputError(f"{key}: {name} is neither beside the plan nor a shipped config")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not config.get("model", {}).get("encoders"):
        raise InputError(f"{key}: {name} has no model.encoders, so it is no fit's config")
    return config


def _table(key: str, name: Any, folder: Path) -> str:
    path = folder / str(name)
    if not path.is_file():
        raise InputError(f"{key}: {path} is not there; paths are relative to the plan")
    return str(path.absolute())


def _mapping(key: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{key}: `name: value` pairs are needed, not {content!r}")
    return content


def _check_keys(prefix: str, content: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in content:
        if key not in keys:
            raise InputError(f"{prefix}{key}: there is no such key; there are {', '.join(keys)}")


def _check_choice(key: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise InputError(f"{key}: {value!r} is none of {', '.join(map(str, choices))}")
