from __future__ import annotations

import pytest
import torch
from torch import nn

from hwmpq.codesign.train import evaluate
from hwmpq.data.base import TensorPart
from hwmpq.data.loss import cross_entropy
from hwmpq.errors import TrainingError

SCORES = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


def test_classes_may_come_second_or_last():
    plain = nn.functional.cross_entropy
    labels = torch.tensor([1, 3])
    assert torch.equal(cross_entropy(SCORES[:, 0], labels), plain(SCORES[:, 0], labels))
    pixels = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 1]])  # three classes, four places
    assert torch.equal(cross_entropy(SCORES, pixels), plain(SCORES, pixels))
    tokens = torch.tensor([[0, 3, 1], [2, 2, 0]])  # four classes, three tokens
    flat = plain(SCORES.reshape(6, 4), tokens.reshape(6))
    torch.testing.assert_close(cross_entropy(SCORES, tokens), flat)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(TrainingError, match=r"answers \(2, 3, 4\) and the labels are \(2,\)"):
        cross_entropy(SCORES, torch.tensor([0, 1]))


def test_accuracy_is_that_of_all_tokens():
    tokens = SCORES.argmax(dim=-1)
    tokens[0, 0] = (tokens[0, 0] + 1) % 4
    part = TensorPart(SCORES, tokens)
    found = evaluate(nn.Identity(), part, batch_size=1, device="cpu")
    assert found == 5 / 6


def test_as_many_classes_as_tokens_cannot_be_told_apart():
    with pytest.raises(TrainingError, match="as many classes as tokens"):
        cross_entropy(torch.zeros(1, 4, 4), torch.tensor([[1, 2, 3, 0]]))
    # One label a sample leaves no doubt.
    assert cross_entropy(torch.zeros(4, 4), torch.tensor([1, 2, 3, 0])) > 0
