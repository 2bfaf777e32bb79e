"""What every extractor must satisfy."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from coldstart import registry
from coldstart.audio.sound import Samples
from coldstart.errors import InputError
from coldstart.extractors.base import Extractor, Features, features_of, open_extractor

SECONDS = (0.5, 3.3, 1.0)
"""How long the tests' sounds are, in windows."""

CLOSE = 1e-3
"""By how much of a feature's size two ways to the same number may differ: windows of a batch share
a matrix product, which adds in another order than for one."""


class ExtractorContract:
    """What every extractor must satisfy. A subclass makes it."""

    def extractor(self) -> Extractor:
        """An extractor that is ready to hear."""
        raise NotImplementedError

    def sound(self, extractor: Extractor, number: int = 0) -> Samples:
        """A chord that fades, and noise: mono, at the extractor's rate."""
        generator = np.random.default_rng(number)
        length = int(SECONDS[number % len(SECONDS)] * extractor.window)
        at = np.arange(length) / extractor.rate
        wave = 0.02 * generator.standard_normal(length)
        for pitch in 110 * 2 ** (generator.integers(0, 30, 3) / 12):
            wave += 0.2 * np.sin(2 * np.pi * pitch * at) * np.exp(-2 * (at % 0.7))
        return wave.astype(np.float32)

    def heard(self, extractor: Extractor, number: int = 0) -> Features:
        """A whole sound's features."""
        return extractor.track(features_of(extractor, [self.sound(extractor, number)]))

    def windows(self, extractor: Extractor) -> Tensor:
        """[3, window]."""
        sound = np.resize(self.sound(extractor, 1), 3 * extractor.window)
        return torch.from_numpy(sound.reshape(3, extractor.window))

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """One name on the command line, in dataset.json and in `coldstart plugins`."""
        extractor = self.extractor()
        assert registry.load("extractors", type(extractor).__name__) is type(extractor)

    def test_it_says_what_its_numbers_depend_on_as_json(self) -> None:
        """Another one that is made alike has the same identity: their vectors may be mixed."""
        extractor, twin = self.extractor(), self.extractor()
        assert json.loads(json.dumps(extractor.about())) == extractor.about()
        assert extractor.identity() == twin.identity()
        assert extractor.rate > 0
        assert extractor.window > 0
        assert len(set(extractor.tag_names)) == len(extractor.tag_names)

    def test_an_unknown_setting_is_refused(self) -> None:
        """By name, before anything is heard."""
        message = ""
        try:
            open_extractor(type(self.extractor()).__name__, {"no_such_setting": 1})
        except InputError as error:
            message = str(error)
        assert "no_such_setting" in message

    def test_features_are_finite_of_one_width_and_tags_are_scores(self) -> None:
        """Of sounds shorter and longer than a window."""
        extractor = self.extractor()
        heard = [self.heard(extractor, number) for number in range(len(SECONDS))]
        assert len({each.vectors.shape for each in heard}) == 1
        for vectors, tags in heard:
            assert vectors.dtype == tags.dtype == torch.float32
            assert vectors.shape[0] == tags.shape[0] == 1
            assert tags.shape[1] == len(extractor.tag_names)
            assert vectors.isfinite().all()
            assert ((tags >= 0) & (tags <= 1)).all()
        assert not torch.equal(heard[0].vectors, heard[1].vectors)

    @torch.inference_mode()
    def test_silence_and_the_loudest_sound_give_finite_features(self) -> None:
        """Logarithms, deviations and half precision break here."""
        extractor = self.extractor()
        silence = torch.zeros(1, extractor.window)
        square = torch.ones(1, extractor.window)
        square[:, ::2] = -1
        for sound in (silence, square):
            features = extractor.hear(sound.to(extractor.device))
            assert features.vectors.isfinite().all()
            assert features.tags.isfinite().all()

    @torch.inference_mode()
    def test_a_window_does_not_depend_on_the_others_of_its_batch(self) -> None:
        """How many are heard at once is a matter of speed alone."""
        extractor = self.extractor()
        windows = self.windows(extractor).to(extractor.device)
        together = extractor.hear(windows)
        for number in range(len(windows)):
            alone = extractor.hear(windows[number : number + 1])
            for one, many in zip(alone, together, strict=True):
                size = float(many.abs().max()) if many.numel() else 1.0
                assert torch.allclose(one[0], many[number], rtol=CLOSE, atol=CLOSE * size)

    def test_blocks_of_any_length_give_the_same(self) -> None:
        """A long file comes in blocks, wherever they end."""
        extractor = self.extractor()
        whole, sound = self.heard(extractor, 1), self.sound(extractor, 1)
        parts = np.array_split(sound, 7)
        pieces = extractor.track(features_of(extractor, parts))
        assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))

    def test_two_threads_hear_what_one_hears(self) -> None:
        """Several files are heard at a time."""
        extractor = self.extractor()
        alone = [self.heard(extractor, number) for number in (0, 1)]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(lambda number: self.heard(extractor, number), (0, 1)))
        for one, other in zip(alone, together, strict=True):
            assert torch.allclose(one.vectors, other.vectors, rtol=CLOSE)
