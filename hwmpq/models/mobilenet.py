"""MobileNets: depthwise separable convolutions, and inverted residuals.

A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017 (arXiv:1704.04861), table 1. M. Sandler et al., "MobileNetV2: Inverted
Residuals and Linear Bottlenecks", CVPR 2018 (arXiv:1801.04381), table 2; modules of the second are
named as in torchvision.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

_V1_BLOCKS: Final = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Output channels and stride of each separable convolution."""

_V2_STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, output channels, blocks and first stride of each stage."""


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


def _unit(
    inputs: int,
    outputs: int,
    kernel_size: int,
    stride: int,
    groups: int,
    activation: type[nn.Module],
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        activation(inplace=True),
    )


class SeparableConvolution(nn.Module):
    """A depthwise 3 x 3 convolution, then a 1 x 1 one."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = _unit(inputs, inputs, 3, stride, inputs, nn.ReLU)
        self.pointwise = _unit(inputs, outputs, 1, 1, 1, nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel, then mix them."""
        result: Tensor = self.pointwise(self.depthwise(x))
        return result


class MobileNetV1(nn.Module):
    """A convolution and thirteen separable ones."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, 2, 1, nn.ReLU)
        inputs = 32
        blocks = []
        for outputs, stride in _V1_BLOCKS:
            blocks.append(SeparableConvolution(inputs, outputs, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, 3, height, width]``."""
        x = self.avgpool(self.blocks(self.stem(x)))
        scores: Tensor = self.classifier(x.flatten(1))
        return scores


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation; add the input if shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [_unit(inputs, hidden, 1, 1, 1, nn.ReLU6)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _unit(hidden, hidden, 3, stride, hidden, nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The projection, plus the input."""
        result: Tensor = self.conv(x)
        return x + result if self.residual else result


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        inputs = 32
        features: list[nn.Module] = [_unit(3, inputs, 3, 2, 1, nn.ReLU6)]
        for expansion, outputs, blocks, stride in _V2_STAGES:
            for index in range(blocks):
                first = stride if index == 0 else 1
                features.append(InvertedResidual(inputs, outputs, first, expansion))
                inputs = outputs
        features.append(_unit(inputs, 1280, 1, 1, 1, nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, 3, height, width]``."""
        scores: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return scores


def mobilenet_v1(classes: int = 1000) -> MobileNetV1:
    """MobileNet of full width."""
    return MobileNetV1(classes)


def mobilenet_v2(classes: int = 1000) -> MobileNetV2:
    """MobileNetV2 of full width."""
    return MobileNetV2(classes)
