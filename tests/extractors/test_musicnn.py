"""MusiCNN's port beside figures of the original, and what is said where its weights aren't."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from coldstart.errors import InputError
from coldstart.extractors.base import features_of, track_features
from coldstart.extractors.musicnn import MusiCNN
from coldstart.extractors.musicnn_net import MusicnnNet
from coldstart.extractors.musicnn_weights import HASHES, PACKAGE, WHEEL, load_weights
from coldstart.testing import ExtractorContract

WINDOW, HOP = MusiCNN.window, 187 * 256

# The original's figures, of the two patches of `sound()`: its own code (musicnn 0.1.0's
# `models.define_model`, restored from its checkpoints) run by TensorFlow 2.21 with tf_keras, on
# log10(1 + 10,000 × power) in float32 of librosa 0.11's melspectrogram(sr=16000, n_fft=512,
# hop_length=256, n_mels=96, center=False), frames 0 to 187 and 187 to 374.
TAGS = {
    "MTT": [
        [0.042373, 0.005145, 0.115029, 0.018988, 0.001296, 0.009075],
        [0.017205, 0.005587, 0.070044, 0.003488, 0.000894, 0.025569],
    ],
    "MSD": [
        [0.025134, 0.031171, 0.065100, 0.173416, 0.341043, 0.146475],
        [0.045159, 0.009544, 0.072897, 0.192440, 0.396822, 0.028260],
    ],
}
PENULTIMATE = {
    "MTT": [
        [1.132179, -0.032879, 0.490055, -0.186058, -0.078703, 1.507885],
        [0.886709, -0.011209, 0.403789, 0.315787, -0.078703, 1.545760],
    ],
    "MSD": [
        [-0.177176, -0.127029, -0.284826, -0.275121, -0.105525, 0.802996],
        [-0.177176, -0.127029, -0.284826, -0.275121, -0.143863, 0.334852],
    ],
}
SUMS = {  # of all tags, all of the penultimate layer, all maxima, and all means
    "MTT": [
        [0.703308, 0.604839],
        [52.59238, 67.51514],
        [3117.137, 3302.674],
        [780.7040, 820.4712],
    ],
    "MSD": [
        [1.658343, 1.598449],
        [45.24019, 51.92454],
        [2298.340, 2238.662],
        [226.4858, 216.1953],
    ],
}


def sound() -> torch.Tensor:
    """[samples]: a tone, a sweep, and a high tone that is switched on and off."""
    at = np.arange(2 * HOP + 512) / MusiCNN.rate
    wave = 0.3 * np.sin(2 * np.pi * 220 * at) + 0.2 * np.sin(2 * np.pi * (300 * at + 150 * at**2))
    wave += 0.2 * np.sin(2 * np.pi * 3000 * at) * (np.sin(2 * np.pi * 2 * at) > 0)
    return torch.from_numpy(wave.astype(np.float32))


def patches() -> torch.Tensor:
    wave = sound()
    return torch.stack([wave[:WINDOW], wave[HOP : HOP + WINDOW]])


@pytest.fixture
def cached(weights_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLDSTART_CACHE", str(weights_cache))
    return weights_cache


class TestMusiCNN(ExtractorContract):
    @pytest.fixture(autouse=True)
    def weights(self, cached: Path) -> None:
        """From the cache."""

    def extractor(self) -> MusiCNN:
        return MusiCNN()


@pytest.mark.parametrize("training_set", HASHES)
def test_the_port_gives_what_the_original_gives(cached: Path, training_set: str) -> None:
    extractor = MusiCNN(training_set)  # type: ignore[arg-type]
    assert sum(each.numel() for each in extractor.net.parameters()) == 787_159
    with torch.inference_mode():
        layers = extractor.net(extractor.levels(patches()))
    maxima, means = layers.pooled.chunk(2, 1)
    assert np.allclose(layers.tags[:, :6], TAGS[training_set], atol=2e-6)
    assert np.allclose(layers.penultimate[:, :6], PENULTIMATE[training_set], atol=3e-5)
    values = (layers.tags, layers.penultimate, maxima, means)
    sums = np.array([each.double().sum(1).numpy() for each in values])
    assert np.allclose(sums, SUMS[training_set], rtol=3e-6)


def test_windows_of_a_stream_and_a_track(cached: Path) -> None:
    """The second window of a stream is its own, in the penultimate layer too."""
    extractor = MusiCNN(layer="penultimate")
    blocks = sound().split(1000)
    batches = list(features_of(extractor, [block.numpy() for block in blocks]))
    vectors = torch.cat([each.vectors for each in batches])
    assert vectors.shape == (2, 200)
    assert not torch.allclose(vectors[0], vectors[1], atol=0.1)
    track = extractor.track(batches)
    assert torch.allclose(track.vectors[0], vectors.mean(0), atol=1e-5)
    assert len(extractor.tag_names) == track.tags.shape[1] == 50


def test_loud_sound_does_not_overflow(cached: Path) -> None:
    """The power of a tone at full scale is beyond half precision, in which the original counts."""
    extractor = MusiCNN()
    at = np.arange(WINDOW) / MusiCNN.rate
    loud = torch.from_numpy(np.sign(np.sin(2 * np.pi * 440 * at)).astype(np.float32))[None]
    power = extractor.spectrum(loud).max()
    assert 10_000 * power > torch.finfo(torch.float16).max
    features = extractor.hear(loud)
    assert features.vectors.isfinite().all()
    assert features.tags.isfinite().all()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("Hungarian_Dance_number_5_-_Allegro_in_F_sharp_minor_(string_orchestra).ogg", "strings"),
        ("ambi_drone.flac", "ambient"),
        ("Boomboxhead-ContententNumber2.mp3", "beat"),
    ],
)
def test_tags_of_real_sound_make_sense(
    cached: Path, shared_data: Path, file: str, expected: str
) -> None:
    extractor = MusiCNN("MTT", "tags")
    features, _, _ = track_features(extractor, shared_data / "audio" / file)
    order = features.tags[0].argsort(descending=True)[:8].tolist()
    assert expected in [extractor.tag_names[number] for number in order]
    assert torch.equal(features.vectors, features.tags)


def test_another_file_than_the_published_wheel_is_not_opened(wheel: Path, tmp_path: Path) -> None:
    content = bytearray(wheel.read_bytes())
    content[1000] ^= 1
    (tmp_path / WHEEL).write_bytes(content)
    with pytest.raises(InputError, match=r"is not musicnn-0\.1\.0.*SHA-256.*isn't opened"):
        load_weights("MTT", tmp_path / WHEEL)
    with pytest.raises(InputError, match=r"there is no such file; fetch it: pip download"):
        load_weights("MTT", tmp_path / "nowhere.whl")


def test_weights_that_were_changed_are_refused(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cached, tmp_path / "cache")
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "extractors" / "musicnn" / "MTT.safetensors"
    state = load_file(path)
    state["output.bias"][0] += 1e-3
    save_file(state, path, {"tags": str(list(MusiCNN("MSD").tag_names)).replace("'", '"')})
    with pytest.raises(InputError, match=r"other weights than those.*delete the folder"):
        MusiCNN("MTT")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"not readable weights.*delete the folder"):
        MusiCNN("MTT")


def test_without_an_index_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    by_hand = rf"aren't here.*pip download --no-deps {PACKAGE}.*--wheel"
    with pytest.raises(InputError, match=by_hand):
        MusiCNN()
    assert [path.name for path in (tmp_path / "extractors").iterdir()] == ["musicnn.lock"]


def test_what_is_not_there_is_refused_before_the_weights() -> None:
    with pytest.raises(InputError, match="training_set: 'MTAT' is none of MTT, MSD"):
        MusiCNN("MTAT")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layer: 'last' is none of pooled, penultimate, tags"):
        MusiCNN(layer="last")  # type: ignore[arg-type]


def test_the_net_has_its_shapes_without_weights() -> None:
    layers = MusicnnNet()(torch.rand(3, 187, 96))
    assert [tuple(each.shape) for each in layers] == [(3, 1506), (3, 200), (3, 50)]
