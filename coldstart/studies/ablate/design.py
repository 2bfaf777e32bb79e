"""What an ablation compares: the rows of its table, their configs, and how they are trained."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from coldstart.errors import InputError, one_of
from coldstart.runs.config import find_config, set_flag

AblationSettings = dict[str, Any]


@dataclass(frozen=True)
class TrackSet:
    """Which tracks a set has.

    Attributes:
        by: `random`: a sample of all tracks; `plays`: the most-played ones.
        share: of all tracks, above 0 and at most 1.
        seed: of the sample.
    """

    by: Literal["random", "plays"]
    share: float
    seed: int = 0


class Variant(NamedTuple):
    """How a row of several modalities is trained.

    Attributes:
        stages: 2: single nets first; 1: jointly.
        fusion: name of the fusion head.
    """

    stages: int
    fusion: str


class Design(NamedTuple):
    """What an ablation compares.

    Attributes:
        rows: subsets of the modalities.
        configs: modality → config of a model with that modality alone.
        variants: how rows of several modalities are trained.
        stage_folds: nets a modality in the first stage.
        listeners: modality → config of the listener that writes it.
        seeds: one run each.
        data: seed → paths of its shards and factors, as in a config.
        settings: dotted flags for all fits.
    """

    rows: list[list[str]]
    configs: dict[str, AblationSettings]
    variants: list[Variant]
    stage_folds: int
    listeners: dict[str, AblationSettings]
    seeds: list[int]
    data: dict[int, dict[str, str]]
    settings: AblationSettings

    def config_of(self, row: Sequence[str]) -> AblationSettings:
        """A new config for a subset of the modalities."""
        return merge_configs({name: self.configs[name] for name in row}, self.settings)


def read_design(
    *,
    parts: Mapping[str, str],
    rows: list[list[str]] | None,
    all_subsets: bool,
    seeds: list[int] | None,
    shards: str,
    factors: str,
    stages: list[int] | None,
    stage_folds: int,
    fusion: list[str] | None,
    listeners: Mapping[str, str] | None,
    settings: AblationSettings | None,
) -> Design:
    """Check the arguments of `ablate` that have these names, and read the configs.

    Raises:
        InputError: wrong input.
    """
    seeds, stages = [0, 1, 2] if seeds is None else seeds, stages or [2]
    if not seeds or not set(stages) <= {1, 2} or stage_folds < 1:
        raise InputError("ablate needs at least one seed, stages 1 or 2, and folds ≥ 1")
    return Design(
        rows=_subsets(parts, rows, all_subsets),
        configs={name: _read_config(config) for name, config in parts.items()},
        variants=[
            Variant(*pair) for pair in itertools.product(stages, fusion or ["MeanLateFusion"])
        ],
        stage_folds=stage_folds,
        listeners={name: _read_config(config) for name, config in (listeners or {}).items()},
        seeds=seeds,
        data={
            seed: {"shards": shards.format(seed=seed), "factors": factors.format(seed=seed)}
            for seed in seeds
        },
        settings={"trainer.enable_progress_bar": False, **(settings or {})},
    )


def _subsets(
    parts: Mapping[str, str], rows: list[list[str]] | None, all_subsets: bool
) -> list[list[str]]:
    """The table's rows, each in the order of the parts.

    >>> _subsets({"a": "", "b": ""}, [["b", "a"]], False)
    [['a', 'b']]
    >>> _subsets({"a": "", "b": ""}, None, True)
    [['a'], ['b'], ['a', 'b']]
    """
    if not parts:
        raise InputError("parts is empty: name a config for each modality, {mgp: mgp.yaml}")
    names = list(parts)
    if rows is None:
        rows = [[name] for name in names] + ([names] if len(names) > 1 else [])
    if all_subsets:
        sizes = range(1, len(names) + 1)
        rows = [list(row) for size in sizes for row in itertools.combinations(names, size)]
    for row in rows:
        for name in row:
            one_of("a modality in rows", name, names)
        if not row or len(set(row)) < len(row):
            raise InputError(f"rows: {row} is empty, or names a modality twice")
    return [[name for name in names if name in row] for row in rows]


def _read_config(name: str) -> AblationSettings:
    """A config with one encoder, from the current folder or a shipped one."""
    path = Path(find_config(name))
    if not path.is_file():
        raise InputError(f"{name}: there is no such config")
    config: AblationSettings = yaml.safe_load(path.read_text(encoding="utf-8"))
    encoders = config.get("model", {}).get("encoders", {})
    if len(encoders) != 1:
        raise InputError(f"{name}: a part has one encoder; this config has {len(encoders)}")
    return config


def merge_configs(
    configs: Mapping[str, AblationSettings], settings: AblationSettings
) -> AblationSettings:
    """A new config: the first one's training, the encoder of each, and the settings.

    Args:
        configs: name that the encoder gets → config with one encoder.
        settings: dotted flags; those of an encoder that isn't here are left out.
    """
    first = next(iter(configs.values()))
    merged = copy.deepcopy(first)
    merged["model"]["encoders"] = {}
    for name, config in configs.items():
        (encoder,) = config["model"]["encoders"].values()
        merged["model"]["encoders"][name] = copy.deepcopy(encoder)
    for section in ("data", "trainer"):
        merged.setdefault(section, {})
    for flag, value in settings.items():
        encoder_name = re.match(r"model\.encoders\.([^.]+)\.", flag)
        if encoder_name is None or encoder_name[1] in configs:
            set_flag(merged, flag, value)
    return merged
