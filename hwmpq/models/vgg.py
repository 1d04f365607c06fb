"""VGG-16 for 32 x 32 images.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015 (arXiv:1409.1556), configuration D, in the form used on CIFAR: batch norms behind the
convolutions and one linear layer behind the last pooling. Modules are named as in torchvision.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

_CONFIGURATION_D: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage."""


class VGG(nn.Module):
    """Stages of 3 x 3 convolutions, each closed by a 2 x 2 pooling."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        inputs = 3
        for channels, convolutions in _CONFIGURATION_D:
            for _ in range(convolutions):
                modules += [
                    nn.Conv2d(inputs, channels, 3, padding=1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                inputs = channels
            modules.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*modules)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images ``[batch, 3, 32, 32]``."""
        scores: Tensor = self.classifier(self.features(x).flatten(1))
        return scores


def vgg16(classes: int = 10) -> VGG:
    """VGG-16 for 32 x 32 images."""
    return VGG(classes)
