"""Patches: what encoders of sound have in common: they cut a track into windows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from coldstart.audio.codec import Buffer, length, window
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed

START = "audio.start"
"""Key that `expand` adds to a sample: where its window begins, in samples.

Encoders of sound in one model follow the first: what they read should have one sample rate."""

FULL_SCALE = 2**15


class WindowReader:
    """Reads windows of sound, however it is stored. Only the wanted window is decoded.

    While training, a window is cut at a random place, or `fixed` windows a track are cut at evenly
    spaced places. Otherwise windows cover the whole track. A subclass says what the content is: it
    implements `length` and `fill`.

    Args:
        field: tar member.
        shape: of a window; its first axis is time.
        dtype: of its values.
        step: samples that one place on that axis stands for.
        fixed: windows a track while training; None for one at a random place.
        hop: otherwise, windows follow each other by this share of a window.
        trim: otherwise, this share is left out at both ends of the track.
    """

    def __init__(
        self,
        field: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        step: int,
        fixed: int | None,
        hop: float,
        trim: float,
    ) -> None:
        self.field, self.shape, self.dtype, self.step = field, shape, dtype, step
        self.size, self.fixed, self.hop, self.trim = shape[0], fixed, hop, trim
        self.pieces = fixed or 1

    def length(self, content: Buffer) -> int:
        """Places on a track's time axis.

        Raises:
            ValueError: it isn't what it should be.
        """
        raise NotImplementedError

    def fill(self, row: Tensor, content: Buffer, start: int) -> None:
        """Write the window that begins at `start` into `row`; repeat a track that is too short.

        Raises:
            ValueError: it isn't what it should be.
        """
        raise NotImplementedError

    def expand(self, sample: Sample, training: bool) -> Iterator[Sample]:
        """A sample for each window. One that another encoder of sound has cut stays as it is."""
        if self.field not in sample or START in sample:
            yield sample
            return
        room = self._room(sample)
        if not training:
            starts = self._cover(room)
        elif self.fixed is None:
            starts = [random.randint(0, room)]  # noqa: S311
        else:
            starts = [round(room * (i + 0.5) / self.fixed) for i in range(self.fixed)]
        for start in starts:
            yield {**sample, START: start * self.step}

    def _cover(self, room: int) -> list[int]:
        """Starts of windows over the trimmed track: evenly spaced, about `hop` windows apart."""
        trimmed = min(int((room + self.size) * self.trim), room // 2)
        first, last = trimmed, room - trimmed
        steps = -(-(last - first) // max(1, int(self.hop * self.size)))
        return [first + round((last - first) * i / max(1, steps)) for i in range(steps + 1)]

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, *shape]; a short track is repeated to fill its window.

        A window that another encoder has begun too late for this one's longer patch is moved
        forward, so that it ends with the track.
        """
        values = new_batch((len(samples), *self.shape), self.dtype)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, (sample, row) in enumerate(zip(samples, values, strict=True)):
            if self.field not in sample:
                row.zero_()
                continue
            start = min(sample.get(START, 0) // self.step, self._room(sample))
            try:
                self.fill(row, sample[self.field], start)
            except ValueError as error:
                raise malformed(sample, self.field, error) from error
            present[i] = True
        return Modality(values, present)

    def _room(self, sample: Sample) -> int:
        """The last place at which a window can begin."""
        try:
            return max(0, self.length(sample[self.field]) - self.size)
        except ValueError as error:
            raise malformed(sample, self.field, error) from error


class PatchReader(WindowReader):
    """Windows of a FLAC: values [B, samples] int16, as the FLACs have it.

    That is half the bytes of floats on their way to the device.
    """

    def __init__(
        self, field: str, samples: int, fixed: int | None, hop: float, trim: float
    ) -> None:
        super().__init__(field, (samples,), torch.int16, 1, fixed, hop, trim)

    def length(self, content: Buffer) -> int:
        """Samples of the track."""
        return length(content)

    def fill(self, row: Tensor, content: Buffer, start: int) -> None:
        """Decode a window."""
        window(content, start, row.numpy())


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

    def reader(self) -> WindowReader:
        """Reads windows of `patch_seconds`."""
        return PatchReader(self.fields[0], self.samples, self.patches, self.hop, self.trim)
