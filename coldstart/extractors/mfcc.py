"""MFCC statistics: what was common before nets were pretrained, and the floor for those."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC as Cepstrum  # noqa: N811

from coldstart.errors import InputError
from coldstart.extractors.base import Extractor, Features

_FFT, _HOP, _MELS = 2048, 512, 128


class MFCC(Extractor):
    """Mean and standard deviation of mel-frequency cepstral coefficients and of their deltas.

    Nothing is learnt: timbre and its changes, as in Tzanetakis and Cook (2002).
    """

    own_units = True
    rate = 22_050
    window = 128 * _HOP + _FFT
    """Samples; 3 s."""

    def __init__(self, coefficients: int = 20) -> None:
        """Of 128 mel bands at 22,050 Hz, windows of 2,048 samples, every 512.

        Args:
            coefficients: how many, 1 to 128; a track's vector has four numbers of each.
        """
        if not 1 <= coefficients <= _MELS:
            raise InputError(f"coefficients are 1 to {_MELS}, not {coefficients}")
        self.settings = {"coefficients": coefficients}
        spectrum = {"n_fft": _FFT, "hop_length": _HOP, "n_mels": _MELS, "center": False}
        self._cepstrum = Cepstrum(self.rate, coefficients, melkwargs=spectrum)
        self.nets = (self._cepstrum,)

    def hear(self, sound: Tensor) -> Features:
        """[N, window] → [N, 4 × coefficients]: means, of the deltas too; then deviations."""
        # A dimension of channels: else the loudest point of all windows would count for each.
        cepstrum = self._cepstrum(sound[:, None])[:, 0]
        both = torch.cat([cepstrum, compute_deltas(cepstrum)], 1)
        vectors = torch.cat([both.mean(2), both.std(2, correction=0)], 1)
        return Features(vectors, vectors.new_zeros(len(vectors), 0))

    def track(self, batches: Iterable[Features]) -> Features:
        """Mean and deviation over all frames of the track, not over its windows' deviations."""

        def moments() -> Iterable[Features]:
            for vectors, tags in batches:
                mean, deviation = vectors.double().chunk(2, 1)
                yield Features(torch.cat([mean, deviation**2 + mean**2], 1), tags)

        sums, tags = super().track(moments())
        mean, square = sums.double().chunk(2, 1)
        deviation = (square - mean**2).clamp_min(0).sqrt()
        return Features(torch.cat([mean, deviation], 1).float(), tags)
