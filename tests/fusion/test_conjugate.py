"""Conjugate gradients: what one matrix gives, without the matrix."""

import pytest
import torch
from torch import Tensor

from coldstart.fusion import conjugate
from coldstart.fusion.base import Solvable
from coldstart.fusion.conjugate import Block, conjugate_ridge
from coldstart.fusion.features import Plain
from coldstart.fusion.kernel import Kernel
from coldstart.fusion.kernels import laplace


def kernel_of(content: Tensor) -> Block:
    return lambda rows, columns: laplace(Plain(content[rows], content[columns]), 0.3)


def planted(tracks: int) -> tuple[Tensor, Tensor]:
    """Waves along three features, and noise; every tenth track has its neighbour's content."""
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(tracks, 3, generator=generator)
    content[::10] = content[1::10]
    noise = 0.3 * torch.randn(tracks, 4, generator=generator)
    return content, (3 * content @ torch.randn(3, 4, generator=generator)).sin() + noise


@pytest.mark.parametrize("penalty", [0.01, 0.1, 1.0, 10.0])
def test_it_comes_to_the_exact_solution(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    content, targets = planted(600)
    targets[:, 3] = 0  # a column that is solved from the start
    kernel = kernel_of(content)
    matrix = kernel(slice(None), slice(None)).double() + penalty * torch.eye(600)
    exact = torch.linalg.solve(matrix, targets.double()).float()
    near = conjugate_ridge(kernel, targets, penalty)
    assert near.residual <= conjugate.TOLERANCE
    assert near.iterations < 30
    monkeypatch.setattr(conjugate, "TOLERANCE", 1e-4)
    monkeypatch.setattr(conjugate, "_ENTRIES", 70_000)  # several blocks
    found = conjugate_ridge(kernel, targets, penalty)
    assert found.residual <= 1e-4
    torch.testing.assert_close(found.coefficients, exact, rtol=0.01, atol=0.01 * exact.std().item())


def test_the_preconditioner_saves_most_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    content, targets = planted(800)
    one, many = (
        conjugate_ridge(kernel_of(content), targets, 0.1, rank).iterations for rank in (1, 200)
    )
    assert many < one / 2


def test_a_kernel_beyond_one_matrix_predicts_as_one_matrix_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, targets = planted(700)
    there = torch.ones(700, dtype=torch.bool)

    def solved() -> tuple[Kernel, str]:
        head = Kernel(kernel="laplace", penalties=(0.1,))
        head.build({"a": 3}, 4)
        rows = Solvable({"a": content}, {"a": there}, targets, torch.arange(700))
        return head, head.solve(lambda: [rows])

    exact, _ = solved()
    monkeypatch.setattr("coldstart.fusion.kernel.EXACT", 300)
    near, said = solved()
    assert "iterations, residual 0.0" in said
    assert len(near.get_buffer("centres")) == 700
    new = {"a": torch.randn(50, 3, generator=torch.Generator().manual_seed(1))}
    mask = {"a": torch.ones(50, dtype=torch.bool)}
    missed = (exact(new, mask) - near(new, mask)).square().sum()
    assert missed < 0.01 * exact(new, mask).square().sum()


def test_smooth_kernels_keep_to_as_many_centres_as_one_matrix_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, _ = planted(700)
    targets = content @ torch.ones(3, 2)
    there = torch.ones(700, dtype=torch.bool)
    monkeypatch.setattr("coldstart.fusion.kernel.EXACT", 100)
    head = Kernel(kernel="linear")
    head.build({"a": 3}, 2)
    head.solve(lambda: [Solvable({"a": content}, {"a": there}, targets, torch.arange(700))])
    assert len(head.get_buffer("centres")) == 100
    torch.testing.assert_close(head({"a": content}, {"a": there}), targets, rtol=0.05, atol=0.05)
