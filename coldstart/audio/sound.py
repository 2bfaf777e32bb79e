"""What a decoder gives, whichever it is, and why a file can't be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import ItemError

Samples = NDArray[np.float32]

BLOCK_SECONDS = 20

LOST_SECONDS = 0.1
"""One or two frames may be lost; a file that lacks more is truncated."""

MIN_SECONDS = 0.5

MIN_RATE = 1000
"""Hz. A damaged header says 1 Hz of a second of sound, which would be hours at an ordinary rate."""

NumberFormat = Literal["float", "pcm16", "pcm24", "other"]
"""How samples lie in the file: `other` is what a lossy codec computes, or other integers."""


class AudioError(ItemError):
    """This audio can't be used; the message is the reason alone, without the file's name."""


class Sound(NamedTuple):
    """An open file.

    Attributes:
        rate: Hz.
        channels: how many.
        numbers: how samples lie in the file.
        blocks: [samples, channels] each; the last one is followed by an AudioError if it isn't
            the end of the sound.
    """

    rate: int
    channels: int
    numbers: NumberFormat
    blocks: Iterator[Samples]


def check_end(decoded: float, total: float, tolerance: float = LOST_SECONDS) -> None:
    """Raise AudioError if so many of the file's seconds can't be decoded."""
    if total - decoded > tolerance:
        raise AudioError(f"truncated: {decoded:.1f} s of {total:.1f} s can be decoded")


def check_seconds(seconds: float) -> None:
    """Raise AudioError if a file is shorter than anything that can be heard."""
    if seconds < MIN_SECONDS:
        raise AudioError(f"only {seconds:.2f} s long (at least {MIN_SECONDS} s)")


def check_rate(rate: int) -> None:
    """Raise AudioError for a sample rate that no sound has."""
    if rate < MIN_RATE:
        raise AudioError(f"its header says {rate:,} Hz, which is no sound's sample rate")
