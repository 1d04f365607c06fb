"""BERT encoders.

J. Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019 (arXiv:1810.04805), section 3. Modules are named as in transformers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Embeddings(nn.Module):
    """Word, position and segment vectors, added and normalised."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors of one segment."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        segment = torch.zeros_like(tokens)
        x = self.word_embeddings(tokens) + self.token_type_embeddings(segment)
        result: Tensor = self.LayerNorm(x + self.position_embeddings(places))
        return result


class SelfAttention(nn.Module):
    """Multi-head attention with separate projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens."""
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        )
        return mixed.transpose(1, 2).flatten(2)


class Residual(nn.Module):
    """A linear layer, the addition of its block's input, and a norm."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Close a block."""
        result: Tensor = self.LayerNorm(self.dense(x) + shortcut)
        return result


class Layer(nn.Module):
    """One layer of the encoder."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(width, heads), "output": Residual(width, width)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = Residual(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the wide layer."""
        x = self.attention["output"](self.attention["self"](x), x)
        wide = functional.gelu(self.intermediate["dense"](x))
        result: Tensor = self.output(wide, x)
        return result


class Bert(nn.Module):
    """The encoder with its pooler."""

    def __init__(
        self, width: int = 768, heads: int = 12, depth: int = 12, vocabulary: int = 30522
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, 512, width)
        layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """Pooled vector of token indices ``[batch, tokens]``."""
        x = self.embeddings(tokens)
        for layer in self.encoder["layer"].children():
            x = layer(x)
        return torch.tanh(self.pooler["dense"](x[:, 0]))


def bert_base() -> Bert:
    """BERT-base: 12 layers, width 768, 12 heads."""
    return Bert()
