"""Residual networks: ResNet-18 and -50 for ImageNet, ResNet-20 and -8 for small images.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016
(arXiv:1512.03385): table 1 for ImageNet, section 4.2 for CIFAR. Modules are named as in
torchvision, so that its weights can be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Shortcut = Literal["identity", "projection"]


def _convolution(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=False)


class IdentityShortcut(nn.Module):
    """A shortcut without weights: every ``stride``-th pixel, further channels zero (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.channels = outputs - inputs
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad."""
        thinned = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(thinned, (0, 0, 0, 0, self.channels // 2, self.channels // 2))


def _shortcut(inputs: int, outputs: int, stride: int, kind: Shortcut) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    if kind == "identity":
        return IdentityShortcut(inputs, outputs, stride)
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around which the input is added."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Residual branch plus shortcut."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + shortcut)
        return result


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the stride is in the 3 x 3 one ("v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Residual branch plus shortcut."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + shortcut)
        return result


Block = type[BasicBlock] | type[Bottleneck]


def _stage(
    block: Block, inputs: int, width: int, depth: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    outputs = width * block.expansion
    blocks = [block(inputs, width, stride, shortcut)]
    blocks += [block(outputs, width, 1, shortcut) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _initialise(model: nn.Module) -> None:
    """Draw convolutions by He et al. (arXiv:1502.01852); norms start at one and zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """The ImageNet form: four stages behind a 7 x 7 convolution and a pooling."""

    def __init__(self, block: Block, depths: Sequence[int], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        e = block.expansion
        self.layer1 = _stage(block, 64, 64, depths[0], 1, "projection")
        self.layer2 = _stage(block, 64 * e, 128, depths[1], 2, "projection")
        self.layer3 = _stage(block, 128 * e, 256, depths[2], 2, "projection")
        self.layer4 = _stage(block, 256 * e, 512, depths[3], 2, "projection")
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * e, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, 3, height, width]``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores


class SmallResNet(nn.Module):
    """The form for small images: a 3 x 3 convolution and three stages of 16, 32, 64 channels."""

    def __init__(
        self,
        depth: int,
        *,
        channels: int = 3,
        classes: int = 10,
        width: int = 16,
        shortcut: Shortcut = "identity",
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(BasicBlock, width, width, depth, 1, shortcut)
        self.layer2 = _stage(BasicBlock, width, 2 * width, depth, 2, shortcut)
        self.layer3 = _stage(BasicBlock, 2 * width, 4 * width, depth, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, channels, height, width]``."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores


def resnet18(classes: int = 1000) -> ResNet:
    """ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes)


def resnet50(classes: int = 1000) -> ResNet:
    """ResNet-50 with the stride in the 3 x 3 convolution (v1.5)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes)


def resnet20(classes: int = 10, shortcut: Shortcut = "identity") -> SmallResNet:
    """ResNet-20 for 32 x 32 colour images."""
    return SmallResNet(3, classes=classes, shortcut=shortcut)


def resnet20_digits(shortcut: Shortcut = "identity") -> SmallResNet:
    """ResNet-20 for 8 x 8 grey digits."""
    return SmallResNet(3, channels=1, shortcut=shortcut)


def resnet8_digits(shortcut: Shortcut = "identity") -> SmallResNet:
    """ResNet-8, one block a stage, for 8 x 8 grey digits."""
    return SmallResNet(1, channels=1, shortcut=shortcut)
