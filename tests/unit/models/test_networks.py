"""The benchmark networks: they run, and what they compute has the shape it should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwmpq.models import alexnet, bert, llama, mobilenet, resnet, vgg, vit


@pytest.mark.parametrize(
    ("model", "shape", "outputs"),
    [
        (resnet.resnet8_digits, (2, 1, 8, 8), 10),
        (resnet.resnet20_digits, (2, 1, 8, 8), 10),
        (vit.vit_digits, (2, 1, 8, 8), 10),
        (resnet.resnet20, (2, 3, 32, 32), 10),
        (resnet.resnet18, (1, 3, 64, 64), 1000),
        (vgg.vgg16, (1, 3, 32, 32), 10),
    ],
)
def test_small_networks_run(model: type[nn.Module], shape: tuple[int, ...], outputs: int) -> None:
    scores = model().eval()(torch.rand(shape))
    assert scores.shape == (shape[0], outputs)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize(
    ("model", "shape", "dtype", "outputs"),
    [
        (resnet.resnet50, (3, 224, 224), torch.float32, (1000,)),
        (alexnet.alexnet, (3, 224, 224), torch.float32, (1000,)),
        (mobilenet.mobilenet_v1, (3, 224, 224), torch.float32, (1000,)),
        (mobilenet.mobilenet_v2, (3, 224, 224), torch.float32, (1000,)),
        (vit.vit_tiny, (3, 224, 224), torch.float32, (1000,)),
        (bert.bert_base, (16,), torch.int64, (768,)),
        (llama.smollm2_135m, (16,), torch.int64, (1, 49152)),
    ],
)
def test_large_networks_have_the_right_shapes(
    model: type[nn.Module], shape: tuple[int, ...], dtype: torch.dtype, outputs: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        scores = model().eval()(torch.zeros((2, *shape), dtype=dtype))
    assert scores.shape == (2, *outputs)


def test_shortcut_without_weights_subsamples_and_pads() -> None:
    shortcut = resnet.IdentityShortcut(2, 4, stride=2)
    image = torch.arange(32.0).reshape(1, 2, 4, 4)
    result = shortcut(image)
    assert result.shape == (1, 4, 2, 2)
    assert torch.equal(result[:, 1:3], image[:, :, ::2, ::2])
    assert not result[:, 0].any()
    assert not result[:, 3].any()


def test_names_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        names = dict(resnet.resnet18().named_modules()).keys()
        names |= dict(mobilenet.mobilenet_v2().named_modules()).keys()
    assert {"conv1", "layer1.0.conv1", "layer2.0.downsample.0", "fc"} <= names
    assert {"features.0.0", "features.2.conv.1.0", "features.18.0", "classifier.1"} <= names


def small_decoder() -> llama.Llama:
    torch.manual_seed(0)
    return llama.Llama(width=16, heads=4, shared_heads=2, hidden=24, depth=2, vocabulary=11).eval()


def test_one_token_after_a_cache_scores_as_the_whole_prompt() -> None:
    model = small_decoder()
    prompt = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        expected = model(prompt)
        cache = torch.zeros(1, 2, 2, 2, 5, 4)
        for end in range(1, 6):
            # The cache grows by one place a token; earlier keys and values are kept.
            scores = model(prompt[:, end - 1 : end], cache[:, :, :, :, :end])
    assert torch.allclose(scores, expected, atol=1e-6)


def test_tied_embeddings_are_one_parameter() -> None:
    with torch.device("meta"):
        model = llama.smollm2_135m()
    assert model.lm_head.weight is model.model["embed_tokens"].weight
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
