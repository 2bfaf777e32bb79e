"""Nets that were exported as ONNX: those that hear, and what is said of others."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.extractors.base import open_extractor
from coldstart.extractors.onnx import Onnx
from coldstart.testing import ExtractorContract

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
Shape = list[int | str]


def save(
    path: Path,
    shape: Shape,
    nodes: list[Any] | None = None,
    outputs: dict[str, Shape] | None = None,
    kind: int = FLOAT,
    inputs: int = 1,
) -> Path:
    """A net; by default one whose vector has two numbers: the mean of a window, and that of its
    square.
    """
    axes = list(range(1, len(shape))) or [0]
    default = [
        helper.make_node("Mul", ["sound0", "sound0"], ["squares"]),
        helper.make_node("ReduceMean", ["sound0", "axes"], ["mean"], keepdims=1),
        helper.make_node("ReduceMean", ["squares", "axes"], ["square"], keepdims=1),
        helper.make_node("Concat", ["mean", "square"], ["both"], axis=-1),
        helper.make_node("Reshape", ["both", "shape"], ["vector"]),
        helper.make_node("Sigmoid", ["vector"], ["scores"]),
    ]
    constants = [
        helper.make_tensor("axes", onnx.TensorProto.INT64, [len(axes)], axes),
        helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [-1, 2]),
    ]
    graph = helper.make_graph(
        nodes or default,
        "net",
        [helper.make_tensor_value_info(f"sound{i}", kind, shape) for i in range(inputs)],
        [
            helper.make_tensor_value_info(name, FLOAT, size)
            for name, size in (outputs or {"vector": ["batch", 2], "scores": ["batch", 2]}).items()
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


class TestOnnx(ExtractorContract):
    @pytest.fixture(autouse=True)
    def net(self, tmp_path: Path) -> None:
        self.path = save(tmp_path / "net.onnx", ["batch", 1600])

    def extractor(self) -> Onnx:
        return Onnx(self.path, rate=8000)


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        (["batch", "samples"], 4000),
        (["batch", 1600], 1600),
        ([1, 1600], 1600),
        ([3, 1600], 1600),
        (["batch", 1, 1600], 1600),
        ([1600], 1600),
        (["samples"], 4000),
    ],
)
def test_it_hears_whatever_the_shape_of_its_input(
    tmp_path: Path, shape: Shape, window: int
) -> None:
    net = Onnx(save(tmp_path / "net.onnx", shape), rate=8000, seconds=0.5)
    assert net.window == window
    sound = torch.randn(5, window)
    features = net.hear(sound)
    expected = torch.stack([sound.mean(1), sound.square().mean(1)], 1)
    assert torch.allclose(features.vectors, expected, atol=1e-5)
    assert features.tags.shape == (5, 0)


def test_samples_may_be_the_last_but_one_axis(tmp_path: Path) -> None:
    """As basic-pitch has it: [batch, samples, 1]."""
    net = Onnx(save(tmp_path / "net.onnx", ["batch", 1600, 1]), rate=8000)
    assert net.window == 1600
    assert net.hear(torch.ones(2, 1600)).vectors.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_frames_are_averaged_and_tags_have_names(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["sound0", "shape"], ["pairs"]),
        helper.make_node("Unsqueeze", ["pairs", "axes"], ["frames"]),
        helper.make_node("ReduceMean", ["sound0", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["score"]),
    ]
    outputs: dict[str, Shape] = {"frames": [1, "frames", 2], "score": ["batch", 1]}
    # [1, 8] → four frames of two numbers
    nodes[1] = helper.make_node("Reshape", ["pairs", "three"], ["frames"])
    path = save(tmp_path / "net.onnx", [1, 8], nodes, outputs)
    model = onnx.load(path)
    model.graph.initializer.append(
        helper.make_tensor("three", onnx.TensorProto.INT64, [3], [1, -1, 2])
    )
    onnx.save(model, path)
    (tmp_path / "names.txt").write_text("loud\n\n")
    net = Onnx(path, rate=8000, tags="score", names=tmp_path / "names.txt")
    features = net.hear(torch.arange(8.0)[None])
    assert features.vectors.tolist() == [[3.0, 4.0]]
    assert net.tag_names == ("loud",)
    assert float(features.tags) == pytest.approx(1 / (1 + np.exp(-3.5)))
    (tmp_path / "names.txt").write_text("loud\nquiet\n")
    with pytest.raises(InputError, match="'score' has 1 scores, and there are 2 names"):
        Onnx(path, rate=8000, tags="score", names=tmp_path / "names.txt")
    with pytest.raises(InputError, match="tags and names belong together"):
        Onnx(path, rate=8000, tags="score")
    with pytest.raises(InputError, match="has no output 'embedding'; it has: frames, score"):
        Onnx(path, rate=8000, output="embedding")


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (["batch", 96, 187], {}),
        (["batch", "samples"], {"inputs": 2}),
        (["batch", "samples"], {"kind": onnx.TensorProto.INT64}),
    ],
)
def test_a_net_with_other_inputs_says_what_it_takes_and_what_is_needed(
    tmp_path: Path, shape: Shape, options: dict[str, Any]
) -> None:
    nodes = [
        helper.make_node("Cast", ["sound0"], ["floats"], to=FLOAT),
        helper.make_node("Sigmoid", ["floats"], ["vector"]),
    ]
    path = save(tmp_path / "net.onnx", shape, nodes, {"vector": shape}, **options)
    with pytest.raises(InputError, match=r"net\.onnx: its net takes 'sound0' tensor.*needed is"):
        Onnx(path, rate=16_000)


def test_an_output_that_is_no_vector_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["sound0", "axes"], ["vector"], keepdims=0)]
    path = save(tmp_path / "net.onnx", ["batch", 100], nodes, {"vector": ["batch"]})
    with pytest.raises(InputError, match=r"gives 'vector'.*needed is"):
        Onnx(path, rate=16_000)


def test_scores_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    nodes = [helper.make_node("Exp", ["sound0"], ["vector"])]
    path = save(tmp_path / "net.onnx", ["batch", 2], nodes, {"vector": ["batch", 2]})
    with pytest.raises(InputError, match="gives no scores from 0 to 1"):
        Onnx(path, rate=16_000, tags="vector", names=tmp_path / "names.txt")


def test_files_that_are_no_nets(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no net")
    with pytest.raises(InputError, match=r"net\.onnx: not a readable ONNX model"):
        Onnx(tmp_path / "net.onnx", rate=8000)
    with pytest.raises(InputError, match=r"--onnx .*other\.onnx: there is no such file"):
        Onnx(tmp_path / "other.onnx", rate=8000)
    with pytest.raises(InputError, match="Onnx needs the setting 'rate'"):
        open_extractor("Onnx", {"onnx": "net.onnx"})


def test_a_folder_is_heard_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = save(tmp_path / "net.onnx", ["batch", "samples"])
    (tmp_path / "names.txt").write_text("mean\nsquare\n")
    (tmp_path / "in").mkdir()
    for number in range(3):
        wave = np.full(16_000, (number + 1) / 4)
        soundfile.write(tmp_path / "in" / f"{number}.wav", wave, 8000, subtype="FLOAT")
    args = [f"--onnx={net}", "--settings.rate=8000", "--settings.seconds=0.5"]
    args += ["--settings.tags=scores", f"--settings.names={tmp_path / 'names.txt'}"]
    places = [f"--audio={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"]
    assert main(["extract", "Onnx", *args, *places]) == 0
    assert "vectors of 3 tracks, 2 wide; 2 tags" in capsys.readouterr().out
    vectors = pl.read_parquet(tmp_path / "out" / "vectors.parquet")["vector"].to_list()
    levels = np.array([0.25, 0.5, 0.75])
    assert np.allclose(vectors, np.stack([levels, levels**2], 1), atol=1e-4)
    tags = pl.read_parquet(tmp_path / "out" / "tags.parquet")
    assert tags.columns == ["track_id", "mean", "square"]
    assert np.allclose(tags["mean"], 1 / (1 + np.exp(-levels)), atol=1e-4)


def test_other_weights_are_another_extractor(tmp_path: Path) -> None:
    one = Onnx(save(tmp_path / "net.onnx", ["batch", 100]), rate=8000)
    same = Onnx(save(tmp_path / "copy.onnx", ["batch", 100]), rate=8000)
    other = Onnx(save(tmp_path / "other.onnx", ["batch", 200]), rate=8000)
    assert one.identity() == same.identity() != other.identity()
