"""Nets of the package transformers: small ones of random weights, made here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.extractors.base import open_extractor, track_features
from coldstart.extractors.transformers import Transformers
from coldstart.testing import ExtractorContract

library: Any = pytest.importorskip("transformers")


def small(kind: str, folder: Path) -> Any:
    """A net in a folder, as the hub has them."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "hubert":
        convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16}
        groups = {"num_conv_pos_embedding_groups": 2, "intermediate_size": 32}
        net = library.HubertModel(library.HubertConfig(**size, **convolutions, **groups))
        reader = library.Wav2Vec2FeatureExtractor(sampling_rate=16_000)
    elif kind == "clap":
        sound = {"num_hidden_layers": 2, "depths": [1, 1], "num_attention_heads": [2, 2]}
        sound |= {"hidden_size": 16, "patch_embeds_hidden_size": 8, "projection_dim": 12}
        text = {**size, "intermediate_size": 16, "vocab_size": 50, "projection_dim": 12}
        config = library.ClapConfig(audio_config=sound, text_config=text, projection_dim=12)
        net, reader = (
            library.ClapModel(config),
            library.ClapFeatureExtractor(truncation="rand_trunc"),
        )
    elif kind == "ast":
        names = {0: "Guitar", 1: "Drum", 2: "Speech"}
        config = library.ASTConfig(**size, intermediate_size=16, id2label=names)
        net, reader = library.ASTForAudioClassification(config), library.ASTFeatureExtractor()
    else:
        net = library.BertModel(library.BertConfig(**size, intermediate_size=16, vocab_size=50))
        reader = None
    net.eval().save_pretrained(folder)
    if reader is not None:
        reader.save_pretrained(folder)
    return net, reader


def read(reader: Any, sound: Tensor) -> dict[str, Tensor]:
    rate = reader.sampling_rate
    return dict(reader(list(sound.numpy()), sampling_rate=rate, return_tensors="pt"))


class TestTransformers(ExtractorContract):
    @pytest.fixture(autouse=True)
    def net(self, tmp_path: Path) -> None:
        small("ast", tmp_path)
        self.folder = str(tmp_path)

    def extractor(self) -> Transformers:
        return Transformers(self.folder, seconds=2, tags=True)


def test_a_hidden_layer_s_mean_over_time(tmp_path: Path) -> None:
    net, reader = small("hubert", tmp_path)
    sound = 0.1 * torch.randn(2, 32_000)
    with torch.inference_mode():
        states = net(**read(reader, sound), output_hidden_states=True).hidden_states
        for layer in (-1, 1):
            extractor = Transformers(str(tmp_path), seconds=2, layer=layer)
            assert (extractor.rate, extractor.window) == (16_000, 32_000)
            found = extractor.hear(sound)
            assert torch.allclose(found.vectors, states[layer].mean(1), atol=1e-5)
            assert found.tags.shape == (2, 0)


def test_clap_gives_its_embedding_of_sound(tmp_path: Path) -> None:
    net, reader = small("clap", tmp_path)
    extractor = Transformers(str(tmp_path))
    assert (extractor.rate, extractor.window) == (48_000, 480_000)
    sound = 0.1 * torch.randn(1, 480_000)
    with torch.inference_mode():
        found = net.get_audio_features(**read(reader, sound))
    expected = getattr(found, "pooler_output", found)
    assert expected.shape == (1, 12)
    with torch.inference_mode():
        assert torch.allclose(extractor.hear(sound).vectors, expected, atol=1e-5)


def test_a_tagger_s_classes_are_tags(tmp_path: Path) -> None:
    net, reader = small("ast", tmp_path)
    extractor = Transformers(str(tmp_path), tags=True)
    assert extractor.tag_names == ("Guitar", "Drum", "Speech")
    sound = 0.1 * torch.randn(2, extractor.window)
    with torch.inference_mode():
        scores = net(**read(reader, sound)).logits.sigmoid()
        found = extractor.hear(sound)
    assert torch.allclose(found.tags, scores, atol=1e-5)
    assert found.vectors.shape == (2, 16)
    assert Transformers(str(tmp_path)).identity() != extractor.identity()


def test_other_weights_are_another_extractor(tmp_path: Path, music_file: Path) -> None:
    net, _ = small("hubert", tmp_path)
    settings = {"model": str(tmp_path), "seconds": 1.0}
    extractor = open_extractor("Transformers", settings)
    features, windows, _ = track_features(extractor, music_file)
    assert features.vectors.shape == (1, 16)
    assert windows >= 2
    with torch.no_grad():
        net.encoder.layer_norm.weight += 0.1
    net.save_pretrained(tmp_path)
    assert open_extractor("Transformers", settings).identity() != extractor.identity()


@pytest.fixture
def music_file(tmp_path: Path) -> Path:
    import soundfile

    path = tmp_path / "music.wav"
    tone = 0.4 * np.sin(np.arange(40_000) * 0.05)
    soundfile.write(path, tone, 16_000)
    return path


def test_what_is_no_net_of_sound_is_refused(tmp_path: Path) -> None:
    small("bert", tmp_path / "text")
    with pytest.raises(InputError, match=r"can't be used .*needed is a net that hears sound"):
        Transformers(str(tmp_path / "text"))
    with pytest.raises(InputError, match="can't be used"):
        Transformers(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"seconds are 0\.1 to 600, not 0"):
        Transformers(str(tmp_path / "text"), seconds=0)


def test_pickles_are_not_read_and_foreign_code_is_not_run(tmp_path: Path) -> None:
    net, _ = small("hubert", tmp_path)
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors"):
        Transformers(str(tmp_path))
    small("hubert", tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Own: ...\n")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="can't be used"):
        Transformers(str(tmp_path))
    assert not (tmp_path / "run").exists()
