"""Multiplying operators, from the operands that a front end sees to layers of the workload.

Both front ends (torch and ONNX) end here, so that one network gives the same layers through
either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from hwmpq.errors import UnsupportedError
from hwmpq.workload.emit_vector import elementwise, softmax
from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer, VectorOp
from hwmpq.workload.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionSettings:
    """Settings of a convolution, one number an axis; ``padding`` is before and after each axis."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1


def add_multiply(
    graph: WorkloadBuilder,
    layer: MultiplyLayer,
    operands: Sequence[Value],
    shape: Sequence[int],
) -> Value:
    """Add a multiplying layer that reads the operands that are activations."""
    inputs = [operand.node for operand in operands if not operand.constant]
    node = graph.add(layer, inputs, shape=shape)
    return Value(tuple(shape), node)


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Padding that keeps the size at stride 1; the odd one goes behind, as in torch.

    >>> same_padding([3, 4], [1, 1])
    ((1, 1), (1, 2))
    """
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def convolution(
    graph: WorkloadBuilder,
    name: str,
    operand: Value,
    weight: Value,
    settings: ConvolutionSettings,
    shape: Sequence[int],
) -> Value:
    """A convolution over one or two axes; one axis becomes a row.

    Padding that differs before and behind is counted as part of the input, since a layer has one
    padding an axis.

    Raises:
        UnsupportedError: three or more axes, or filters that are no constant.
    """
    axes = len(weight.shape) - 2
    if axes not in (1, 2):
        msg = f"'{name}' is a convolution over {axes} axes; only one and two can be priced"
        raise UnsupportedError(msg)
    if not weight.constant:
        msg = f"'{name}' is a convolution whose filters are computed from the network's input"
        raise UnsupportedError(msg)
    lead = (1,) * (2 - axes)
    batch = operand.shape[0] if len(operand.shape) == axes + 2 else 1
    sizes = operand.shape[-axes:]
    both = [min(before, after) for before, after in settings.padding]
    extra = [abs(before - after) for before, after in settings.padding]
    height, width = (1,) * (2 - axes) + tuple(s + e for s, e in zip(sizes, extra, strict=True))
    layer = Conv2d(
        name=name,
        batch=batch,
        in_channels=weight.shape[1] * settings.groups,
        in_height=height,
        in_width=width,
        out_channels=weight.shape[0],
        kernel_size=_pair(lead + weight.shape[2:]),
        stride=_pair(lead + settings.stride),
        padding=_pair((0,) * (2 - axes) + tuple(both)),
        dilation=_pair(lead + settings.dilation),
        groups=settings.groups,
    )
    return add_multiply(graph, layer, [operand], shape)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def transposed_convolution(
    graph: WorkloadBuilder,
    name: str,
    operand: Value,
    weight: Value,
    groups: int,
    shape: Sequence[int],
) -> Value:
    """A transposed convolution as what accelerators run: a product, then an overlapping addition.

    Every input pixel is multiplied with the whole kernel, ``in * out / groups * kernel * pixels``
    MACs, and the products are added where they overlap. The vector unit does the addition.

    Raises:
        UnsupportedError: three or more axes, or filters that are no constant.
    """
    axes = len(weight.shape) - 2
    if axes not in (1, 2) or not weight.constant:
        msg = (
            f"'{name}': only a transposed convolution over one or two axes with stored filters "
            "can be priced"
        )
        raise UnsupportedError(msg)
    sizes = (1,) * (2 - axes) + operand.shape[-axes:]
    taps = prod(weight.shape[2:])
    layer = Conv2d(
        name=name,
        batch=operand.shape[0] if len(operand.shape) == axes + 2 else 1,
        in_channels=weight.shape[0],
        in_height=sizes[0],
        in_width=sizes[1],
        out_channels=weight.shape[1] * groups * taps,
        kernel_size=(1, 1),
        groups=groups,
    )
    products = add_multiply(graph, layer, [operand], (layer.output_elements,))
    overlap = VectorOp(
        name=f"{name}.overlap_add",
        op="add",
        input_sizes=(products.elements,),
        output_elements=prod(shape),
        operations=products.elements,
    )
    return Value(tuple(shape), graph.add(overlap, [products.node], shape=shape))


def linear(
    graph: WorkloadBuilder, name: str, operand: Value, weight: Value, shape: Sequence[int]
) -> Value:
    """A linear layer with ``[out, in]`` weights on an input of any rank; rows are the batch."""
    if not weight.constant:
        return matmul(graph, name, operand, weight.reshaped(weight.shape[::-1]), shape)
    in_features = weight.shape[-1]
    layer = Linear(
        name=name,
        batch=operand.elements // in_features,
        in_features=in_features,
        out_features=prod(weight.shape) // in_features,
    )
    return add_multiply(graph, layer, [operand], shape)


def contraction(
    graph: WorkloadBuilder,
    name: str,
    left: Value,
    right: Value,
    sizes: tuple[int, int, int, int],
    shape: Sequence[int],
) -> Value:
    """``batch`` products ``[m, k] x [k, n]``; a stored operand makes it a layer with weights.

    Args:
        graph: the workload.
        name: the layer's name.
        left: the ``[m, k]`` operand.
        right: the ``[k, n]`` operand.
        sizes: ``batch, m, k, n``.
        shape: shape of the result.
    """
    batch, m, k, n = sizes
    if left.constant and not right.constant:
        return contraction(graph, name, right, left, (batch, n, k, m), shape)
    layer: MultiplyLayer
    if not right.constant:
        layer = MatMul(name=name, batch=batch, m=m, k=k, n=n)
    elif batch == 1:
        layer = Linear(name=name, batch=m, in_features=k, out_features=n)
    else:
        # Every product has weights of its own, as every group of a 1 x 1 convolution has.
        layer = Conv2d(
            name=name,
            in_channels=batch * k,
            in_height=1,
            in_width=m,
            out_channels=batch * n,
            kernel_size=(1, 1),
            groups=batch,
        )
    return add_multiply(graph, layer, [left, right], shape)


def matmul(
    graph: WorkloadBuilder, name: str, left: Value, right: Value, shape: Sequence[int]
) -> Value:
    """A matrix product with broadcasting, as ``torch.matmul`` defines it.

    Where one side has no leading dimensions, or only ones, the other side's become rows, since
    they share the operand; so do those that read copies of one right operand.
    """
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    m, k, n = a[-2], a[-1], b[-1]
    lead_a, lead_b = prod(a[:-2]), prod(b[:-2])
    if lead_b == 1:
        sizes = (1, lead_a * m, k, n)
    elif lead_a == 1:
        sizes = (1, m, k, lead_b * n)
    else:
        rank = max(len(a), len(b)) - 2
        padded_a = (1,) * (rank + 2 - len(a)) + a[:-2]
        padded_b = (1,) * (rank + 2 - len(b)) + b[:-2]
        batch = prod(max(pair) for pair in zip(padded_a, padded_b, strict=True))
        shared = right.shared if len(a) > 2 and a[-3] == b[-3] else 1
        sizes = (batch // shared, shared * m, k, n)
    return contraction(graph, name, left, right, sizes, shape)


def einsum(
    graph: WorkloadBuilder,
    name: str,
    equation: str,
    operands: Sequence[Value],
    shape: Sequence[int],
) -> Value:
    """An Einstein sum of two operands.

    Letters in both operands and the result are batch, in both but not in the result are summed.

    Raises:
        UnsupportedError: not two operands, a letter that appears twice in one operand, or one that
            is summed in a single operand.
    """
    inputs, _, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    letters = [term.replace("...", "") for term in (*terms, result)]
    if len(terms) != 2 or not result or any(len(set(term)) < len(term) for term in letters):
        msg = (
            f"'{name}': einsum '{equation}' must have two operands, an explicit result and no "
            "repeated letter; write it as several products"
        )
        raise UnsupportedError(msg)
    if "." in equation:
        terms, result = _without_ellipsis(terms, result, operands)
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        sizes |= dict(zip(term, operand.shape, strict=True))
    left, right = (set(term) for term in terms)
    alone = (left ^ right) - set(result)
    if alone:
        msg = f"'{name}': einsum '{equation}' sums {sorted(alone)} in one operand; sum it before"
        raise UnsupportedError(msg)

    def size(letters: set[str]) -> int:
        return prod(sizes[letter] for letter in letters)

    shared = left & right
    counts = (
        size(shared & set(result)),
        size(left - right),
        size(shared - set(result)),
        size(right - left),
    )
    return contraction(graph, name, operands[0], operands[1], counts, shape)


def _without_ellipsis(
    terms: Sequence[str], result: str, operands: Sequence[Value]
) -> tuple[list[str], str]:
    """Write the dimensions of an ellipsis as capital Greek letters, aligned at the end."""
    alphabet = "ΑΒΓΔΕΖΗΘΙΚΛΜ"
    named = []
    longest = ""
    for term, operand in zip(terms, operands, strict=True):
        missing = len(operand.shape) - len(term.replace("...", "")) if "..." in term else 0
        letters = alphabet[len(alphabet) - missing :]
        longest = max(longest, letters, key=len)
        named.append(term.replace("...", letters))
    return named, result.replace("...", longest)


def attention(
    graph: WorkloadBuilder,
    name: str,
    query: Value,
    key: Value,
    value: Value,
    *,
    masks: Sequence[Value] | None,
    shape: Sequence[int],
    capped: bool = False,
) -> Value:
    """Scaled dot-product attention: two products with a softmax between them.

    Operands are ``[..., heads, tokens, width]``. Where several query heads share one key head
    (grouped-query attention), their queries are rows of one product. The scale is part of the
    query's requantisation and costs nothing; a causal mask skips no work.

    Args:
        graph: the workload.
        name: prefix of the nodes' names.
        query: the queries.
        key: the keys.
        value: the values.
        masks: what is added to the scores; an empty list is a mask computed from positions alone.
        shape: shape of the result.
        capped: whether scores are bounded as ``c tanh(score / c)`` before the mask: a
            multiplication, a look-up and a multiplication each.
    """
    *_, rows, width = query.shape
    tokens = key.shape[-2]
    heads = prod(query.shape[:-2])
    batch = prod(key.shape[:-2]) // key.shared
    shared = heads // batch
    scores_shape = (*query.shape[:-1], tokens)
    scores = contraction(
        graph, f"{name}.qk", query, key, (batch, shared * rows, width, tokens), scores_shape
    )
    if capped:
        scores = elementwise(
            graph,
            f"{name}.softcap",
            "elementwise",
            [scores],
            scores_shape,
            operations_per_element=3,
        )
    if masks is not None:
        scores = elementwise(graph, f"{name}.mask", "add", [scores, *masks], scores_shape)
    weights = softmax(graph, f"{name}.softmax", scores, -1)
    batch = prod(value.shape[:-2]) // value.shared
    sizes = (batch, heads // batch * rows, tokens, value.shape[-1])
    return contraction(graph, f"{name}.av", weights, value, sizes, shape)
