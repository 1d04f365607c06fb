"""Layers: the shape of one operator, without its values.

Field names are torch's. Every layer is a frozen value that also is the schema of the ``layers:``
form of a workload file.
A layer either multiplies (`Conv2d`, `Linear`, `MatMul`) and has a bit-width to choose, or runs on
the vector unit (`VectorOp`),
or only renames data (`FreeOp`).
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from hwmpq.workload.loops import LoopNest


def _pair(value: object) -> object:
    """Let a square size be written as one number, as torch does."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return _tuple(value)


def _tuple(value: object) -> object:
    """Take the list that YAML gives for a tuple."""
    return tuple(value) if isinstance(value, list) else value


Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
Padding = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], BeforeValidator(_pair)
]

VectorKind = Literal[
    "max_pool2d",
    "avg_pool2d",
    "add",
    "mul",
    "concat",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "softmax",
    "relu",
    "relu6",
    "hard_swish",
    "hard_sigmoid",
    "sigmoid",
    "silu",
    "gelu",
    "tanh",
    "embedding",
    "upsample",
    "mean",
    "elementwise",
]
FreeKind = Literal["flatten", "reshape", "slice", "identity"]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)


class Conv2d(_Shape):
    """A two-dimensional convolution; a one-dimensional one has height 1.

    ``ceil_mode`` is that of torch's pooling: where the stride does not divide, one more window
    hangs over the edge. Torch's own convolutions never do that, SCALE-Sim's always.

    >>> size = {"in_channels": 3, "in_height": 8, "in_width": 8, "out_channels": 4}
    >>> Conv2d(name="c", kernel_size=3, padding=1, **size).macs
    6912
    """

    op: Literal["conv2d"] = "conv2d"
    batch: PositiveInt = 1
    in_channels: PositiveInt
    in_height: PositiveInt
    in_width: PositiveInt
    out_channels: PositiveInt
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0)
    dilation: Pair = (1, 1)
    groups: PositiveInt = 1
    im2col: bool | None = None
    ceil_mode: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Conv2d:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            msg = (
                f"groups must divide in_channels and out_channels, but got "
                f"{self.groups=}, {self.in_channels=}, {self.out_channels=}"
            )
            raise ValueError(msg)
        if self.out_height < 1 or self.out_width < 1:
            msg = (
                f"the padded input must hold the dilated kernel, but the output would be "
                f"{self.out_height} x {self.out_width}"
            )
            raise ValueError(msg)
        return self

    def _out(self, axis: int, size: int) -> int:
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        steps, over = divmod(size + 2 * self.padding[axis] - reach, self.stride[axis])
        return steps + 1 + (self.ceil_mode and over > 0)

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self._out(0, self.in_height)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._out(1, self.in_width)

    @property
    def is_depthwise(self) -> bool:
        """Whether every input channel has filters of its own."""
        return self.groups > 1 and self.groups == self.in_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations, padding positions included."""
        return self.loops.macs

    @property
    def weight_elements(self) -> int:
        """Stored weights, without bias."""
        return self.out_channels * (self.in_channels // self.groups) * prod(self.kernel_size)

    @property
    def input_elements(self) -> int:
        """Elements of the activation it reads, unpadded."""
        return self.batch * self.in_channels * self.in_height * self.in_width

    @property
    def output_elements(self) -> int:
        """Elements it writes."""
        return self.batch * self.out_channels * self.out_height * self.out_width

    @property
    def loops(self) -> LoopNest:
        """The loop nest."""
        return LoopNest(
            groups=self.groups,
            batch=self.batch,
            out_channels=self.out_channels // self.groups,
            in_channels=self.in_channels // self.groups,
            out_height=self.out_height,
            out_width=self.out_width,
            kernel_height=self.kernel_size[0],
            kernel_width=self.kernel_size[1],
            stride=self.stride,
            dilation=self.dilation,
            in_height=self.in_height,
            in_width=self.in_width,
        )


class Linear(_Shape):
    """A fully connected layer; ``batch`` counts rows (samples, or samples x tokens)."""

    op: Literal["linear"] = "linear"
    batch: PositiveInt = 1
    in_features: PositiveInt
    out_features: PositiveInt

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return self.batch * self.in_features * self.out_features

    @property
    def weight_elements(self) -> int:
        """Stored weights, without bias."""
        return self.in_features * self.out_features

    @property
    def input_elements(self) -> int:
        """Elements of the activation it reads."""
        return self.batch * self.in_features

    @property
    def output_elements(self) -> int:
        """Elements it writes."""
        return self.batch * self.out_features

    @property
    def loops(self) -> LoopNest:
        """The loop nest: one output pixel, kernel 1 x 1."""
        return LoopNest(
            groups=1,
            batch=self.batch,
            out_channels=self.out_features,
            in_channels=self.in_features,
        )


class MatMul(_Shape):
    """A product of two activations, ``batch`` times ``[m, k] x [k, n]``, as in attention.

    The ``[k, n]`` operand takes the weight path of the accelerator at ``weight_bits``, but is not
    stored as a weight.
    """

    op: Literal["matmul"] = "matmul"
    batch: PositiveInt = 1
    m: PositiveInt
    k: PositiveInt
    n: PositiveInt

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return self.batch * self.m * self.k * self.n

    @property
    def weight_elements(self) -> int:
        """Stored weights: none, both operands are activations."""
        return 0

    @property
    def input_elements(self) -> int:
        """Elements of both operands."""
        return self.batch * self.k * (self.m + self.n)

    @property
    def output_elements(self) -> int:
        """Elements it writes."""
        return self.batch * self.m * self.n

    @property
    def loops(self) -> LoopNest:
        """The loop nest: ``batch`` independent linear layers of ``m`` rows."""
        return LoopNest(groups=self.batch, batch=self.m, out_channels=self.n, in_channels=self.k)


class VectorOp(_Shape):
    """An operator of the vector unit: reads tensors, writes one.

    Attributes:
        op: what it computes.
        input_sizes: elements of each tensor read.
        output_elements: elements written.
        operations: elementary operations (an addition, comparison, multiplication or table look-up
            each).
        parameter_elements: stored parameters that one pass reads (scale and shift of a norm, the
            rows that an embedding looks up).
        stored_elements: stored parameters, where that is more than one pass reads (the table of an
            embedding); zero means the same.
    """

    op: VectorKind
    input_sizes: Annotated[tuple[PositiveInt, ...], BeforeValidator(_tuple)] = Field(min_length=1)
    output_elements: PositiveInt
    operations: int = Field(ge=0)
    parameter_elements: int = Field(default=0, ge=0)
    stored_elements: int = Field(default=0, ge=0)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations: none are counted outside multiplying layers."""
        return 0

    @property
    def weight_elements(self) -> int:
        """Stored parameters."""
        return self.stored_elements or self.parameter_elements

    @property
    def input_elements(self) -> int:
        """Elements of all tensors it reads."""
        return sum(self.input_sizes)


class FreeOp(_Shape):
    """An operator that only renames data: no cycle, no traffic, by definition."""

    op: FreeKind
    elements: PositiveInt

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations: none."""
        return 0

    @property
    def weight_elements(self) -> int:
        """Stored weights: none."""
        return 0

    @property
    def input_elements(self) -> int:
        """Elements renamed."""
        return self.elements

    @property
    def output_elements(self) -> int:
        """Elements renamed."""
        return self.elements


MultiplyLayer: TypeAlias = Conv2d | Linear | MatMul
Layer: TypeAlias = Conv2d | Linear | MatMul | VectorOp | FreeOp
MULTIPLY_LAYERS = (Conv2d, Linear, MatMul)


def without_name(layer: Layer) -> Layer:
    """The layer under a common name, so that equal shapes compare and hash equal."""
    return layer.model_copy(update={"name": "_"})
