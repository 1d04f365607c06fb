"""Vision transformers.

A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv:2010.11929); the tiny and
small widths are those of H. Touvron et al., "Training data-efficient image transformers", ICML
2021 (arXiv:2012.12877), table 1. Modules are named as in timm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchEmbedding(nn.Module):
    """Images to one vector a patch."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Patches ``[batch, patches, width]``."""
        patches: Tensor = self.proj(x)
        return patches.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens."""
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return result


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token."""
        result: Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class Block(nn.Module):
    """Attention and MLP, each behind a norm and around which the input is added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """One layer of the encoder."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class VisionTransformer(nn.Module):
    """A transformer encoder over patches, read out at a class token."""

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int = 12,
        image: int = 224,
        patch: int = 16,
        channels: int = 3,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(channels, patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, channels, height, width]``."""
        patches = self.patch_embed(x)
        token = self.cls_token.expand(x.shape[0], -1, -1)
        x = torch.cat([token, patches], dim=1) + self.pos_embed
        x = self.norm(self.blocks(x))
        scores: Tensor = self.head(x[:, 0])
        return scores


def vit_tiny(classes: int = 1000) -> VisionTransformer:
    """ViT-Ti/16: width 192, 3 heads."""
    return VisionTransformer(192, 3, classes=classes)


def vit_small(classes: int = 1000) -> VisionTransformer:
    """ViT-S/16: width 384, 6 heads."""
    return VisionTransformer(384, 6, classes=classes)


def vit_digits(classes: int = 10) -> VisionTransformer:
    """For 8 x 8 digits: 16 patches of 2 x 2 pixels, width 32, 2 heads, 3 blocks.

    Weights start as large as the narrow layers ask for and positions at one: from the starts of
    the wide networks plain SGD hardly moves it.
    """
    model = VisionTransformer(32, 2, depth=3, image=8, patch=2, channels=1, classes=classes)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    for tokens in (model.pos_embed, model.cls_token):
        nn.init.trunc_normal_(tokens)
    return model
