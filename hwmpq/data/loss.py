"""The loss of classifiers, of whole samples or of each token."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hwmpq.errors import TrainingError


def classes_second(outputs: Tensor, labels: Tensor) -> Tensor:
    """A network's scores with the classes in the second dimension, where torch wants them.

    Scores ``[samples, classes, ...]`` are left as they are. Language models answer
    ``[samples, tokens, classes]`` for labels ``[samples, tokens]``.

    Raises:
        TrainingError: scores and labels do not fit, or fit both ways.
    """
    second = (outputs.shape[:1] + outputs.shape[2:]) == labels.shape
    last = outputs.shape[:-1] == labels.shape
    if second and last and labels.ndim > 1:
        msg = (
            f"scores {tuple(outputs.shape)} for labels {tuple(labels.shape)} have as many classes "
            "as tokens, so it cannot be told which is which; train and measure with another "
            "number of tokens"
        )
        raise TrainingError(msg)
    if second or outputs.shape == labels.shape:
        return outputs
    if last:
        return outputs.movedim(-1, 1)
    msg = (
        f"the network answers {tuple(outputs.shape)} and the labels are {tuple(labels.shape)}; a "
        "cross entropy needs [samples, classes] and [samples], or [samples, tokens, classes] and "
        "[samples, tokens]"
    )
    raise TrainingError(msg)


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over all labels.

    Raises:
        TrainingError: scores and labels do not fit.
    """
    return functional.cross_entropy(classes_second(outputs, labels), labels)
