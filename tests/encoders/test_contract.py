"""Every encoder of the package keeps the contract."""

from typing import Any, ClassVar

import numpy as np
from helpers import noise_flac

from coldstart.encoders.artist import Artist
from coldstart.encoders.artist_id import ArtistId
from coldstart.encoders.attributes import MGP, MachineListened
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder
from coldstart.encoders.embedding import Embedding
from coldstart.encoders.genres import Genres
from coldstart.encoders.text import Text
from coldstart.encoders.waveform import Waveform
from coldstart.shards.writing import npy_bytes
from coldstart.testing import EncoderContract

ATTRIBUTES = {"names": ["a", "b", "c"], "mean": [0.5, 0.5, 1.0], "std": [0.1, 0.3, 1.0]}
GENRES = {"vocabulary": ["rock", "pop", "jazz"]}
AUDIO = {"sample_rate": 8000}
SMALL: dict[str, Any] = {"net": "small", "patch_seconds": 6.0, "bins": 60, "dim": 8}
NOISE = noise_flac(56_000)
VECTORS = [npy_bytes(np.array(row)) for row in ([0.2, 0.4, 1.0], [0.9, 0.1, 0.0])]
DAMAGED = [b"", b"\x93NUMPY garbage", b"PK\x03\x04", b"\xff\xfe{", b'{"a": 1}', b"fLaC"]


class _Contract(EncoderContract):
    """Of an encoder that reads one field."""

    field: str

    def __init_subclass__(cls) -> None:
        cls.broken = [{cls.field: content} for content in DAMAGED]


class _Sound(_Contract):
    field = "audio.flac"
    tracks = ({"audio.flac": NOISE}, {"audio.flac": noise_flac(56_000, seed=1)})
    facts = AUDIO


class TestSmallAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(**SMALL)


class TestMelAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(**SMALL, spectrogram="mel")


class TestStatisticsOfAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(**{**SMALL, "net": "statistics"})


class TestFullAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(patch_seconds=2.2, bins=80, fmin=30, frame_hop=128, dim=8, spectrogram="mel")


class TestSmallWaveform(_Sound):
    def encoder(self) -> Encoder:
        return Waveform(net="small", patch_seconds=2.0, dim=8)


class TestFullWaveform(_Sound):
    def encoder(self) -> Encoder:
        return Waveform(patch_seconds=7.5, dim=8)


class TestMGP(_Contract):
    field = "mgp.npy"
    tracks = tuple({"mgp.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return MGP(hidden=(16, 8))


class TestMGPByEach(TestMGP):
    def encoder(self) -> Encoder:
        return MGP(hidden=(8,), scale="each")


class TestMGPOfAnotherFolderAndOfSeveralUnits(TestMGP):
    field = "tags.npy"
    tracks = tuple({"tags.npy": vector} for vector in VECTORS)
    facts: ClassVar[dict[str, Any]] = {
        **ATTRIBUTES,
        "units": {"c": {"log": True, "mean": 0.3, "spread": 0.4}},
    }

    def encoder(self) -> Encoder:
        return MGP(hidden=(8,), modality="tags")


class TestMachineListened(_Contract):
    field = "mlg.npy"
    tracks = tuple({"mlg.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return MachineListened(hidden=(8,))


class TestEmbedding(_Contract):
    field = "mert.npy"
    tracks = tuple({"mert.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return Embedding("mert", hidden=(8,))


class TestGenres(_Contract):
    field = "genres.json"
    tracks = ({"genres.json": b'["jazz", "pop"]'}, {"genres.json": b'["rock"]'})
    facts = GENRES

    def encoder(self) -> Encoder:
        return Genres(hidden=(8,))


class TestText(EncoderContract):
    tracks = ({"text.txt": b"rose red rose"}, {"text.txt": "violet, bleu été".encode()})
    broken = ({"text.txt": b"\xff\xfe"}, {"text.txt": b"rose \xc3"})

    def encoder(self) -> Encoder:
        return Text(min_tracks=1)


class TestTextThroughLayers(TestText):
    def encoder(self) -> Encoder:
        return Text(min_tracks=1, hidden=(16, 8))


class TestArtist(EncoderContract):
    tracks = tuple(
        {"artist.factors": np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)}
        for n in (2, 1, 5)
    )
    broken = ({"artist.factors": np.ones((2, 4), np.float32)}, {"artist.factors": np.ones(3)})
    facts: ClassVar[dict[str, Any]] = {"factors": 3}

    def encoder(self) -> Encoder:
        return Artist(most=4, hidden=(8,))


class TestArtistId(EncoderContract):
    tracks = ({"track.artist_id": "a1"}, {"track.artist_id": "Björk"})
    broken = ({"track.artist_id": ""}, {"track.artist_id": b"a1"})

    def encoder(self) -> Encoder:
        return ArtistId(dim=16)


class TestArtistIdThroughLayers(TestArtistId):
    def encoder(self) -> Encoder:
        return ArtistId(dim=16, hidden=(8, 4))
