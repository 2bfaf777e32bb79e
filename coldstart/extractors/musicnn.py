"""MusiCNN: a pretrained tagger whose weights lie in a package, so that it runs anywhere."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from coldstart.errors import one_of
from coldstart.extractors.base import Extractor, Features
from coldstart.extractors.musicnn_net import BANDS, FRAMES, MusicnnNet
from coldstart.extractors.musicnn_weights import HASHES, load_weights
from coldstart.files import StrPath

_FFT, _HOP = 512, 256

_LAYERS = ("pooled", "penultimate", "tags")


class MusiCNN(Extractor):
    """A pretrained tagger (Pons and Serra, 2019): 50 tags of genre, instrument, voice and mood.

    The authors' own extractor computes levels in half precision, which overflows on loud tracks,
    and repeats the first window's penultimate layer; neither is done here.
    """

    rate = 16_000
    places = ("wheel",)
    window = (FRAMES - 1) * _HOP + _FFT
    """Samples; 3 s."""

    def __init__(
        self,
        training_set: Literal["MTT", "MSD"] = "MTT",
        layer: Literal["pooled", "penultimate", "tags"] = "pooled",
        wheel: StrPath | None = None,
    ) -> None:
        """The weights come out of the wheel musicnn 0.1.0 (ISC licence), fetched once by pip.

        Args:
            training_set: `MTT` (MagnaTagATune) or `MSD` (Million Song Dataset, with Last.fm's
                tags).
            layer: that gives the vectors: `pooled` (1,506 wide), `penultimate` (200) or `tags`
                (50).
            wheel: the file musicnn-0.1.0-py3-none-any.whl, if pip can't fetch it.

        Raises:
            InputError: the weights can't be had, or aren't the published ones.
        """
        one_of("training_set", training_set, tuple(HASHES))
        one_of("layer", layer, _LAYERS)
        state, self.tag_names, self.weights = load_weights(training_set, wheel)
        self.settings = {"training_set": training_set, "layer": layer}
        self.layer = layer
        self.net = MusicnnNet()
        self.net.load_state_dict(state, strict=False)  # without counters of batches
        self.spectrum = MelSpectrogram(
            self.rate,
            n_fft=_FFT,
            hop_length=_HOP,
            n_mels=BANDS,
            center=False,
            norm="slaney",
            mel_scale="slaney",
        )
        self.nets = (self.net, self.spectrum)

    def levels(self, sound: Tensor) -> Tensor:
        """[N, samples] → [N, frames, 96]: log10(1 + 10,000 × power), in single precision."""
        return torch.log10(1 + 10_000 * self.spectrum(sound)).mT

    def hear(self, sound: Tensor) -> Features:
        """[N, window] → vectors [N, width] and tags [N, 50]."""
        layers = self.net(self.levels(sound))
        return Features(layers._asdict()[self.layer], layers.tags)
