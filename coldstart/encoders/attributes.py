"""Attributes: a vector of graded attributes a track, by people (MGP) or by a machine (MLG)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError, one_of
from coldstart.sample import Sample, malformed


class VectorReader(WholeTrack):
    """Reads float32 .npy vectors of one known width."""

    def __init__(self, field: str, width: int) -> None:
        self.field, self.width = field, width

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, width]; zeros where the field is missing."""
        values = torch.zeros(len(samples), self.width)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, sample in enumerate(samples):
            if self.field in sample:
                values[i], present[i] = torch.from_numpy(self._decode(sample)), True
        return Modality(values, present)

    def _decode(self, sample: Sample) -> np.ndarray[Any, Any]:
        try:
            # Not np.load, which opens archives too.
            vector = np.lib.format.read_array(io.BytesIO(sample[self.field]), allow_pickle=False)
        except Exception as error:  # a damaged header can be wrong in any way
            raise malformed(sample, self.field, f"not a readable .npy ({error})") from error
        if vector.shape != (self.width,):
            reason = f"shape {vector.shape}, expected ({self.width},)"
            raise malformed(sample, self.field, reason)
        with np.errstate(over="ignore"):
            values = vector.astype(np.float32) if vector.dtype.kind in "fiu" else np.float32(np.nan)
        if not np.isfinite(values).all():
            raise malformed(sample, self.field, "it holds values that are no finite numbers")
        return np.asarray(values)


Scale = Literal["units", "common", "each"]


class _Attributes(Encoder):
    """Scaled attributes through a dense net; the two subclasses differ in `modality`'s default."""

    interface = 1
    log: Tensor | None

    def __init__(
        self,
        hidden: Sequence[int],
        dropout: float,
        scale: Scale,
        modality: str,
    ) -> None:
        """As in `MGP`."""
        super().__init__()
        if min(hidden, default=1) < 1:
            raise InputError(f"hidden: {list(hidden)} are not widths of at least 1")
        one_of(f"{type(self).__name__}: scale", scale, get_args(Scale))
        if not re.fullmatch(r"[A-Za-z0-9_-]+", modality):
            raise InputError(
                f"{type(self).__name__}: modality {modality!r} is not a name of letters, digits, "
                "_ and -"
            )
        self.hidden, self.dropout, self.scale = tuple(hidden), dropout, scale
        self.fields = (f"{modality}.npy",)

    def has_layers(self) -> bool:
        """Unless `hidden` is empty."""
        return bool(self.hidden)

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for as many attributes as `info["names"]` has."""
        if info.get("folds") and len(info["parts"]) < info["folds"]:
            raise InputError(
                f"{self.fields[0]}: only folds {info['parts']} of {info['folds']} have been "
                "written; fit and predict the other listeners first"
            )
        self.names: list[str] = list(info["names"])
        self.width = len(self.names)
        # Columns in another unit than the table's, if it has any: see coldstart/shards/units.py.
        units: Mapping[str, Any] = info.get("units", {}) if self.scale == "units" else {}
        mean = torch.tensor(info["mean"], dtype=torch.float32)
        spread = torch.tensor(info["std"], dtype=torch.float32)
        if self.scale != "each":
            own = torch.tensor([name in units for name in self.names])
            common = spread[~own].square().mean().sqrt()
            spread = torch.where(own, spread, common) if units else common
        for name, unit in units.items():
            column = self.names.index(name)
            mean[column], spread[column] = unit["mean"], unit["spread"]
        spread = torch.where(spread > 0, spread, 1.0)  # a constant attribute becomes 0
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        log = torch.tensor([name in units and units[name]["log"] for name in self.names])
        self.register_buffer("log", log if log.any() else None, persistent=False)
        self.net = dense((self.width, *self.hidden), self.dropout)
        self.dim = (self.width, *self.hidden)[-1]

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The attributes must be the same, in the same order."""
        if info["names"] != built_from["names"]:
            names, trained = set(info["names"]), set(built_from["names"])
            raise InputError(
                f"{self.fields[0]}: the dataset's attributes are not the ones that this model was "
                f"trained on; missing: {sorted(trained - names)[:5] or 'none'}, new: "
                f"{sorted(names - trained)[:5] or 'none'} (the order counts too)"
            )

    def reader(self) -> VectorReader:
        """Reads vectors of `width` attributes."""
        return VectorReader(self.fields[0], self.width)

    def describe(self, values: Tensor) -> Tensor:
        """The scaled attributes. [B, width] → [B, width]."""
        if self.log is not None:  # clamped: a test track's value may be below all training tracks'
            values = torch.where(self.log, values.clamp_min(0).log1p(), values)
        return (values - self.get_buffer("mean")) / self.get_buffer("spread")

    def feature_names(self) -> list[str]:
        """The attributes."""
        return self.names

    def feature_baseline(self) -> Tensor:
        """Their mean over the training tracks, for counts in logarithms that of these. [width]."""
        mean = self.get_buffer("mean")
        return mean if self.log is None else torch.where(self.log, mean.expm1(), mean)

    def encode(self, values: Tensor) -> Tensor:
        """[B, width] → [B, dim]."""
        encoded: Tensor = self.net(self.describe(values))
        return encoded


class MGP(_Attributes):
    """Attributes annotated by people, through a dense net (row 5 of the talk)."""

    fields: tuple[str, ...] = ("mgp.npy",)

    def __init__(
        self,
        hidden: Sequence[int] = (512, 512),
        dropout: float = 0.5,
        scale: Scale = "units",
        modality: str = "mgp",
    ) -> None:
        """Dense layers of these widths; the last one is what fusion gets.

        Args:
            hidden: widths of the layers; none: fusion gets the scaled attributes themselves.
            dropout: share of units dropped after each layer while training.
            scale: `common`: centred, then divided by one spread for all, for grades on one scale;
                rare attributes keep small values. `each`: every attribute by its own spread.
                `units`: as `common`, but each column that `shard` has found to be in another unit
                by its own spread, counts with a heavy tail in logarithms.
            modality: folder of the shards that holds the attributes.
        """
        super().__init__(hidden, dropout, scale, modality)

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Columns with names that come from a table."""
        by_people = "names" in info and not _is_machine_made(info)
        return {"hidden": [], "modality": folder} if by_people else None


class MachineListened(_Attributes):
    """The same attributes as a trained listener estimates them from audio (row 7 of the talk)."""

    fields: tuple[str, ...] = ("mlg.npy",)

    def __init__(
        self,
        hidden: Sequence[int] = (512, 512),
        dropout: float = 0.5,
        scale: Scale = "units",
        modality: str = "mlg",
    ) -> None:
        """Dense layers, as in `MGP`.

        Args:
            hidden: widths of the layers; none: fusion gets the scaled attributes themselves.
            dropout: share of units dropped after each layer while training.
            scale: `units`, `common` or `each`, as in `MGP`.
            modality: folder of the shards that a listener has written.
        """
        super().__init__(hidden, dropout, scale, modality)

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Columns with names that listeners or an extractor made."""
        by_machine = "names" in info and _is_machine_made(info)
        return {"hidden": [], "modality": folder} if by_machine else None


def _is_machine_made(info: Mapping[str, Any]) -> bool:
    return bool(info.get("made_by") or info.get("runs"))
