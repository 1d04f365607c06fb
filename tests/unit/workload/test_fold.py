"""Scales that a product takes over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwmpq.workload.from_torch import extract


class Scores(nn.Module):
    def __init__(self, *, read_twice: bool) -> None:
        super().__init__()
        self.read_twice = read_twice

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        scaled = query * 0.5
        scores = scaled.unsqueeze(0) @ key.unsqueeze(0)
        return scores, torch.relu(scaled) if self.read_twice else scores


def operators(*, read_twice: bool) -> list[str]:
    inputs = (torch.zeros(3, 4), torch.zeros(4, 5))
    return [layer.op for layer in extract(Scores(read_twice=read_twice), inputs).priced_layers]


def test_a_number_times_an_operand_of_a_product_is_free() -> None:
    assert operators(read_twice=False) == ["matmul"]


def test_unless_something_else_reads_it() -> None:
    assert operators(read_twice=True) == ["mul", "matmul", "relu"]


def test_a_tensor_times_an_operand_is_not_free() -> None:
    class Gated(nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return (query * query) @ key

    workload = extract(Gated(), (torch.zeros(3, 4), torch.zeros(4, 5)))
    assert [layer.op for layer in workload.priced_layers] == ["mul", "matmul"]
