"""Llama-shaped decoders, for reading a prompt and for one token after it.

H. Touvron et al., "LLaMA", 2023 (arXiv:2302.13971), section 2.2: RMS norms in front, SwiGLU,
rotary positions; grouped-query attention of J. Ainslie et al., 2023 (arXiv:2305.13245). Modules
are named as in transformers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def rotary_tables(positions: Tensor, width: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[tokens, width]`` of rotary position embedding (arXiv:2104.09864)."""
    steps = torch.arange(0, width, 2, device=positions.device) / width
    angles = positions[:, None] * base**-steps
    doubled = torch.cat([angles, angles], dim=-1)
    return doubled.cos(), doubled.sin()


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines


class Attention(nn.Module):
    """Causal attention in which several query heads share one key and value head."""

    def __init__(self, width: int, heads: int, shared_heads: int) -> None:
        super().__init__()
        self.size = width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, shared_heads * self.size, bias=False)
        self.v_proj = nn.Linear(width, shared_heads * self.size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], -1, self.size).transpose(1, 2)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], cache: Tensor | None) -> Tensor:
        """Mix tokens, with keys and values ``[batch, 2, heads, tokens, size]`` of earlier ones.

        The cache has room for the tokens at hand, which are written into its last places.
        """
        query = _rotate(self._split(self.q_proj(x)), *tables)
        key = _rotate(self._split(self.k_proj(x)), *tables)
        value = self._split(self.v_proj(x))
        if cache is not None:
            cache[:, 0, :, -x.shape[1] :] = key
            cache[:, 1, :, -x.shape[1] :] = value
            key, value = cache[:, 0], cache[:, 1]
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=cache is None, enable_gqa=True
        )
        result: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return result


class GatedMlp(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.act_fn = nn.SiLU()
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token."""
        result: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return result


class DecoderLayer(nn.Module):
    """One layer of the decoder."""

    def __init__(self, width: int, heads: int, shared_heads: int, hidden: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.self_attn = Attention(width, heads, shared_heads)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.mlp = GatedMlp(width, hidden)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], cache: Tensor | None) -> Tensor:
        """Attention and MLP around which the input is added."""
        x = x + self.self_attn(self.input_layernorm(x), tables, cache)
        result: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return result


class Llama(nn.Module):
    """A decoder with its output layer."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        shared_heads: int,
        hidden: int,
        depth: int,
        vocabulary: int,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.size = width // heads
        layers = (DecoderLayer(width, heads, shared_heads, hidden) for _ in range(depth))
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(vocabulary, width),
                "layers": nn.ModuleList(layers),
                "norm": nn.RMSNorm(width, eps=1e-5),
            }
        )
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            embedding = self.model["embed_tokens"]
            self.lm_head.register_parameter("weight", embedding.get_parameter("weight"))

    def forward(self, tokens: Tensor, cache: Tensor | None = None) -> Tensor:
        """Scores of the next token, from indices ``[batch, tokens]``.

        Args:
            tokens: the prompt, or the newest token.
            cache: keys and values, ``[batch, layers, 2, heads, tokens, size]``, with room for the
                tokens at hand; they are written into it.
        """
        before = 0 if cache is None else cache.shape[4] - tokens.shape[1]
        places = torch.arange(before, before + tokens.shape[1], device=tokens.device)
        tables = rotary_tables(places, self.size)
        x = self.model["embed_tokens"](tokens)
        for index, layer in enumerate(self.model["layers"].children()):
            x = layer(x, tables, None if cache is None else cache[:, index])
        scores: Tensor = self.lm_head(self.model["norm"](x[:, -1:]))
        return scores


def smollm2_135m(depth: int = 30) -> Llama:
    """The shape of SmolLM2-135M, or of its first layers."""
    return Llama(
        width=576,
        heads=9,
        shared_heads=3,
        hidden=1536,
        depth=depth,
        vocabulary=49152,
        tied=True,
    )


def tinyllama_1_1b() -> Llama:
    """The shape of TinyLlama-1.1B (arXiv:2401.02385)."""
    return Llama(width=2048, heads=32, shared_heads=4, hidden=5632, depth=22, vocabulary=32000)
