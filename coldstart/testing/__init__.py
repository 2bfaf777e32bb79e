"""For plugin authors: contract tests that pytest runs when a test class inherits them.

from coldstart.testing import EncoderContract

class TestPoems(EncoderContract):
    tracks = [{"poems.txt": b"rose red"}, {"poems.txt": b"violet blue"}]
    broken = [{"poems.txt": b"\\xff"}]

    def encoder(self):
        return Poems(hidden=(8,))
"""

from coldstart.testing.encoders import EncoderContract
from coldstart.testing.extractors import ExtractorContract
from coldstart.testing.fusion import FusionContract
from coldstart.testing.samples import Content, modality
from coldstart.testing.targets import TargetContract

__all__ = [
    "Content",
    "EncoderContract",
    "ExtractorContract",
    "FusionContract",
    "TargetContract",
    "modality",
]
