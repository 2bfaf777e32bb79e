"""Patches: what encoders of sound have in common: they cut a track into windows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from coldstart.audio_codec import length, window
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed

START = "audio.start"
"""Key that `expand` adds to a sample: where its window begins, in samples."""

FULL_SCALE = 2**15


class PatchReader:
    """Reads windows of a FLAC. Only the wanted window is decoded.

    While training, a patch is cut at a random place, or `fixed` patches a track are cut at evenly
    spaced places. Otherwise windows cover the whole track.
    """

    def __init__(
        self, field: str, samples: int, fixed: int | None, hop: float, trim: float
    ) -> None:
        self.field, self.samples, self.fixed = field, samples, fixed
        self.hop, self.trim = hop, trim
        self.pieces = fixed or 1

    def expand(self, sample: Sample, training: bool) -> Iterator[Sample]:
        """A sample for each window. One that another audio encoder has cut stays as it is."""
        if self.field not in sample or START in sample:
            yield sample
            return
        room = max(0, self._length(sample) - self.samples)
        if not training:
            starts = self._cover(room)
        elif self.fixed is None:
            starts = [random.randint(0, room)]  # noqa: S311
        else:
            starts = [round(room * (i + 0.5) / self.fixed) for i in range(self.fixed)]
        for start in starts:
            yield {**sample, START: start}

    def _cover(self, room: int) -> list[int]:
        """Starts of windows over the trimmed track: evenly spaced, about `hop` windows apart."""
        trimmed = min(int((room + self.samples) * self.trim), room // 2)
        first, last = trimmed, room - trimmed
        steps = -(-(last - first) // max(1, int(self.hop * self.samples)))
        return [first + round((last - first) * i / max(1, steps)) for i in range(steps + 1)]

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, samples] int16; a short track is repeated to fill it.

        As the FLACs have it: half the bytes of floats on their way to the device.

        A window that another encoder has begun too late for this one's longer patch is moved
        forward, so that it ends with the track.
        """
        values = new_batch((len(samples), self.samples), torch.int16)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, (sample, row) in enumerate(zip(samples, values, strict=True)):
            if self.field not in sample:
                row.zero_()
                continue
            start = min(sample.get(START, 0), max(0, self._length(sample) - self.samples))
            try:
                window(sample[self.field], start, row.numpy())
            except (RuntimeError, ValueError) as error:
                raise self._malformed(sample, error) from error
            present[i] = True
        return Modality(values, present)

    def _length(self, sample: Sample) -> int:
        try:
            return length(sample[self.field])
        except ValueError as error:
            raise self._malformed(sample, error) from error

    def _malformed(self, sample: Sample, error: Exception) -> InputError:
        return malformed(sample, self.field, f"not a readable FLAC ({error})")


def new_batch(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; in a loader's worker in memory that the trainer's process shares.

    So a batch is handed over without being copied once more.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    shared = torch.UntypedStorage._new_shared(size)  # as torch's own default_collate does
    return torch.empty(0, dtype=dtype).set_(shared).view(shape)


def waveform(values: Tensor) -> Tensor:
    """Samples as a reader gives them → floats in -1..1."""
    return values if values.is_floating_point() else values / FULL_SCALE


class PatchEncoder(Encoder):
    """An encoder of patches of sound. A subclass's `build` sets `samples`, a patch's length."""

    interface = 1
    fields: tuple[str, ...] = ("audio.flac",)
    streamed: ClassVar[bool] = True
    may_differ: ClassVar[tuple[str, ...]] = ("patches", "hop", "trim")
    samples: int

    def _cut(self, patch_seconds: float, patches: int | None, hop: float, trim: float) -> None:
        """Check and keep how a track is cut."""
        if patch_seconds <= 0 or not 0 < hop <= 1 or not 0 <= trim < 0.5:
            raise InputError(
                f"{type(self).__name__}: patch_seconds > 0, 0 < hop ≤ 1 and 0 ≤ trim < 0.5 are "
                "needed"
            )
        if patches is not None and patches < 1:
            raise InputError(f"{type(self).__name__}: patches must be above 0")
        self.patch_seconds, self.patches, self.hop, self.trim = patch_seconds, patches, hop, trim

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The sample rate must be the one that the net was built for."""
        if info["sample_rate"] != built_from["sample_rate"]:
            raise InputError(
                f"the model was trained on audio at {built_from['sample_rate']} Hz, the dataset "
                f"has {info['sample_rate']} Hz; use --sample-rate {built_from['sample_rate']}"
            )

    def reader(self) -> PatchReader:
        """Reads windows of `patch_seconds`."""
        return PatchReader(self.fields[0], self.samples, self.patches, self.hop, self.trim)
