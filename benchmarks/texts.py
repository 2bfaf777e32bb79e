"""What a kernel on texts of very many words costs: memory, seconds and the size of its weights.

  TRACKS=4000 WORDS=100000 python -m benchmarks.texts

Invented texts of 300 words each, as frequent as Zipf's law has it, which bend 64 factors; each word
that any text has is a column. Read, solved with the Laplace kernel, and predicted, 256 at a time.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch

from coldstart.encoders.base import Modality
from coldstart.encoders.text import Text
from coldstart.fusion.base import Solvable
from coldstart.fusion.kernel import Kernel
from coldstart.sample import Sample

TRACKS = int(os.environ.get("TRACKS", "4000"))
WORDS = int(os.environ.get("WORDS", "100000"))
LENGTH, FACTORS, BATCH = 300, 64, 256


def catalogue() -> tuple[list[Sample], torch.Tensor]:
    """Texts, and vectors that go by their words."""
    generator = np.random.default_rng(0)
    often = 1 / np.arange(1, WORDS + 1)
    words = generator.choice(WORDS, size=(TRACKS, LENGTH), p=often / often.sum())
    places = generator.normal(size=(WORDS, FACTORS)).astype(np.float32)
    vectors = np.stack([places[row[row > 50]].mean(0) for row in words])
    texts: list[Sample] = [
        {"track_id": f"t{i}", "text.txt": " ".join(f"w{word}" for word in row).encode()}
        for i, row in enumerate(words)
    ]
    return texts, torch.from_numpy(np.tanh(4 * vectors))


def main() -> None:
    """Print a line."""
    texts, vectors = catalogue()
    encoder = Text(max_words=WORDS, min_tracks=1)
    encoder.start(encoder.learn(texts))
    reader = encoder.reader()
    group = torch.arange(TRACKS)

    def batches() -> Iterator[tuple[slice, Modality]]:
        for start in range(0, TRACKS, BATCH):
            part = slice(start, start + BATCH)
            yield part, reader(texts[part])

    def rows() -> Iterator[Solvable]:
        for part, (values, present) in batches():
            yield Solvable({"text": values}, {"text": present}, vectors[part], group[part])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    head = Kernel(kernel="laplace", penalties=(0.1,))
    head.build({"text": encoder.dim}, FACTORS)
    head.solve(rows)
    solved = time.perf_counter()
    with torch.no_grad():
        missed = sum(
            float((head({"text": values}, {"text": present}) - vectors[part]).square().sum())
            for part, (values, present) in batches()
        )
    predicted = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weights = sum(value.nbytes for value in head.state_dict().values()) / 1e6
    print("tracks | words | solve s | predict s | MB before | peak MB | weights MB | missed")
    print(
        f"{TRACKS:,} | {encoder.dim:,} | {solved - began:.1f} | {predicted - solved:.1f} | "
        f"{before:,.0f} | {peak:,.0f} | {weights:,.1f} | {missed:.4f}"
    )


if __name__ == "__main__":
    main()
