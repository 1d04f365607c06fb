"""What a workload file says: the schema of ``workloads/*.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from hwmpq.errors import BudgetError
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, FreeOp, Linear, MatMul, VectorOp


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


LayerSpec: TypeAlias = Annotated[
    Conv2d | Linear | MatMul | VectorOp | FreeOp, Field(discriminator="op")
]
Shape = Annotated[tuple[PositiveInt, ...], BeforeValidator(_tuple)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputSpec(_Part):
    """One input of a network that is built from code.

    Attributes:
        shape: dimensions without the batch.
        dtype: element type; indices of an embedding are ``int64``.
        signed: whether values may be negative.
    """

    shape: Shape
    dtype: Literal["float32", "int64"] = "float32"
    signed: bool = True


class Facts(_Part):
    """Published figures, written out: a count must round to them at their last non-zero digit.

    Attributes:
        macs: multiply-accumulate operations of one sample.
        weights: weights of convolutions and linear layers, biases and norms left out.
        parameters: all parameters of the model.
    """

    macs: PositiveInt | None = None
    weights: PositiveInt | None = None
    parameters: PositiveInt | None = None


class WorkloadSpec(_Part):
    """A workload file.

    Exactly one of ``torch``, ``onnx``, ``topology`` and ``layers`` says what the network is.

    Attributes:
        name: what reports call it.
        description: a sentence for ``hwmpq list``.
        torch: ``module:function`` that returns a ``torch.nn.Module``.
        arguments: keyword arguments of that function.
        input_shape: shape of the only input, without the batch.
        input_dtype: element type of the only input.
        input_signed: whether the only input may be negative.
        inputs: the inputs, where there are several.
        onnx: path of an ONNX file, relative to this file.
        topology: path of a SCALE-Sim topology CSV, relative to this file.
        layers: the operators, in execution order.
        chain: whether a layer without ``inputs`` reads the one before it.
        facts: published figures.
        fix: precisions by layer name or pattern, such as ``{"conv1": 8/8}``.
        data: name of the data set that the network is trained on by default.
    """

    name: str = Field(min_length=1)
    description: str = ""
    torch: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    input_shape: Shape | None = None
    input_dtype: Literal["float32", "int64"] = "float32"
    input_signed: bool = True
    inputs: Annotated[tuple[InputSpec, ...], BeforeValidator(_tuple)] = ()
    onnx: str | None = None
    topology: str | None = None
    layers: (
        Annotated[tuple[LayerSpec, ...], BeforeValidator(_tuple), Field(min_length=1)] | None
    ) = None
    chain: bool = False
    facts: Facts = Facts()
    fix: Mapping[str, str] = Field(default_factory=dict)
    data: str = ""

    @model_validator(mode="after")
    def _one_network(self) -> WorkloadSpec:
        forms = {
            "torch": self.torch,
            "onnx": self.onnx,
            "topology": self.topology,
            "layers": self.layers,
        }
        given = [key for key, value in forms.items() if value is not None]
        if len(given) != 1:
            msg = (
                f"exactly one of {', '.join(forms)} must say what the network is, but got {given}"
            )
            raise ValueError(msg)
        if self.torch and (self.input_shape is None) == (not self.inputs):
            msg = "a torch workload needs input_shape (without the batch), or inputs if several"
            raise ValueError(msg)
        for pattern, precision in self.fix.items():
            try:
                Precision.parse(precision)
            except BudgetError as error:
                msg = f"fix['{pattern}']: {error}"
                raise ValueError(msg) from error
        return self

    @property
    def all_inputs(self) -> tuple[InputSpec, ...]:
        """Every input."""
        if self.input_shape is None:
            return self.inputs
        only = InputSpec(shape=self.input_shape, dtype=self.input_dtype, signed=self.input_signed)
        return (only,)
