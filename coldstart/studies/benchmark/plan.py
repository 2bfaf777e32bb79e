"""The plan of a benchmark: a short YAML file, read and checked before anything runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from coldstart.commands.factorize import factorize
from coldstart.commands.split import Method
from coldstart.errors import InputError
from coldstart.evaluation.evaluate import Candidates
from coldstart.evaluation.rivals.by_content import CONTENT_RIVALS
from coldstart.evaluation.rivals.by_factors import FACTOR_RIVALS
from coldstart.evaluation.rivals.packages import OTHERS, need
from coldstart.files import file_hash, fingerprint
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


class Model(NamedTuple):
    """A model of a plan.

    Attributes:
        config: a fit's configuration, as it was read.
        factorize: all options of its factorisation that aren't the default's.
        settings: flags of its fit.
        stages: 1 or 2; None: as the fit chooses.
    """

    config: dict[str, Any]
    factorize: dict[str, Any]
    settings: dict[str, Any]
    stages: Literal[1, 2] | None

    @property
    def factors(self) -> str:
        """Folder's name of its factorisation: equal options, equal name."""
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
        content: encoders that describe the content to the rivals.
        models: by name.
        rivals: names.
    """

    tracks: str
    listens: str
    attributes: dict[str, str]
    split: Method
    seeds: list[int]
    candidates: Candidates
    factorize: dict[str, Any]
    content: dict[str, Any]
    models: dict[str, Model]
    rivals: list[str]

    @property
    def factorisations(self) -> dict[str, dict[str, Any]]:
        """Each different one, once: folder's name → options."""
        wanted = [model.factorize for model in self.models.values()]
        if self.factorize or not self.models:  # else it would be nobody's but the rivals'
            wanted.append(self.factorize)
        return {factors_name(options): options for options in wanted}

    def as_dict(self) -> dict[str, Any]:
        """All that decides the outcome, plain; of tables their SHA-256."""
        tables = {"tracks": self.tracks, "listens": self.listens, **self.attributes}
        return self._asdict() | {
            "models": {name: model._asdict() for name, model in self.models.items()},
            "hashes": {name: file_hash(path) for name, path in tables.items()},
        }


def factors_name(options: Mapping[str, Any]) -> str:
    """A short name of a factorisation's folder, by its options."""
    return fingerprint(dict(options))[:8]


def read_plan(path: str) -> Plan:
    """Read a plan; relative paths are relative to its folder.

    Raises:
        InputError: it isn't there, or a key is wrong: which, and what to do.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such plan")
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    try:
        return _plan(_mapping("the plan", given), file.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plan(given: dict[str, Any], folder: Path) -> Plan:
    _known("", given, Plan._fields)
    for key in ("tracks", "listens"):
        if key not in given:
            raise InputError(f"{key} is missing: name the table, such as `{key}: {key}.parquet`")
    attributes = _mapping("attributes", given.get("attributes", {}))
    split, candidates = given.get("split", "random"), given.get("candidates", "cold")
    _choice("split", split, get_args(Method))
    _choice("candidates", candidates, get_args(Candidates))
    seeds = given.get("seeds", [0, 1, 2])
    if not isinstance(seeds, list) or not seeds or not all(_is(seed, int) for seed in seeds):
        raise InputError("seeds: a list of whole numbers is needed, such as [0, 1, 2]")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds: {seeds} has one twice, or one below 0")
    rivals = given.get("rivals", list(OWN_RIVALS))
    if not isinstance(rivals, list):
        raise InputError(f"rivals: a list of names is needed, of {', '.join(RIVALS)}")
    for name in rivals:
        _choice("rivals", name, RIVALS)
    if len(set(rivals)) < len(rivals):
        raise InputError(f"rivals: {rivals} names one twice")
    common = _options("factorize", given.get("factorize", {}))
    models = {
        str(name): _model(str(name), about, common, folder)
        for name, about in _mapping("models", given.get("models", {})).items()
    }
    if not models and not rivals:
        raise InputError("models and rivals are both empty: name at least one")
    if "content" in given:
        configs = [_config("content", given["content"], folder)]
    else:
        configs = [model.config for model in models.values()]
    encoders: dict[str, Any] = {}
    for config in configs:
        encoders = {**config["model"]["encoders"], **encoders}
    if not encoders:
        raise InputError(
            "content is missing: without models, name a config whose encoders describe the tracks "
            "to the rivals, such as `content: mgp.yaml`"
        )
    for name in rivals:
        if name in OTHERS:
            need(name)
    return Plan(
        tracks=_table("tracks", given["tracks"], folder),
        listens=_table("listens", given["listens"], folder),
        attributes={n: _table(f"attributes.{n}", p, folder) for n, p in attributes.items()},
        split=split,
        seeds=seeds,
        candidates=candidates,
        factorize=common,
        content=encoders,
        models=models,
        rivals=rivals,
    )


def _model(name: str, given: Any, common: dict[str, Any], folder: Path) -> Model:
    key = f"models.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InputError(f"{key}: a name is of letters, digits, ., _ and -")
    about = _mapping(key, given)
    _known(f"{key}.", about, Model._fields)
    if "config" not in about:
        raise InputError(f"{key}.config is missing: name a fit's config, such as mgp.yaml")
    own = _options(f"{key}.factorize", about.get("factorize", {}))
    for option in FOR_ALL:
        if option in own:
            raise InputError(
                f"{key}.factorize.{option}: decides what is ranked for whom, so it is the same for "
                f"all: put it under the plan's own `factorize`"
            )
    stages = about.get("stages")
    if stages is not None:
        _choice(f"{key}.stages", stages, (1, 2))
    return Model(
        config=_config(f"{key}.config", about["config"], folder),
        factorize=_options(key, {**common, **own}),
        settings=_mapping(f"{key}.settings", about.get("settings", {})),
        stages=stages,
    )


def _options(key: str, given: Any) -> dict[str, Any]:
    """Options of `factorize`, without those that are the default's anyway."""
    options = _mapping(key, given)
    _known(f"{key}.", options, tuple(FACTORIZE))
    for name, value in options.items():
        default = FACTORIZE[name]
        kind = str if default is None else type(default)
        if not _is(value, kind):
            raise InputError(f"{key}.{name}: {value!r} is no {kind.__name__}")
    return {
        name: type(FACTORIZE[name])(value) if FACTORIZE[name] is not None else value
        for name, value in options.items()
        if value != FACTORIZE[name]
    }


def _is(value: Any, kind: type) -> bool:
    kinds = (int, float) if kind is float else (kind,)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _config(key: str, given: Any, folder: Path) -> dict[str, Any]:
    beside = folder / str(given)
    try:
        path = beside if beside.is_file() else Path(find_config(str(given)))
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    if not path.is_file():
        raise InputError(f"{key}: {given} is neither beside the plan nor a shipped config")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not config.get("model", {}).get("encoders"):
        raise InputError(f"{key}: {given} has no model.encoders, so it is no fit's config")
    return config


def _table(key: str, given: Any, folder: Path) -> str:
    path = folder / str(given)
    if not path.is_file():
        raise InputError(f"{key}: {path} is not there; paths are relative to the plan")
    return str(path.absolute())


def _mapping(key: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"{key}: `name: value` pairs are needed, not {given!r}")
    return given


def _known(where: str, given: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in given:
        if key not in keys:
            raise InputError(f"{where}{key}: there is no such key; there are {', '.join(keys)}")


def _choice(key: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise InputError(f"{key}: {value!r} is none of {', '.join(map(str, choices))}")
