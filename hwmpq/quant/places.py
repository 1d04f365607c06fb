"""Where a workload's layers live in a torch module: tensors of weights, owners of products.

A workload names a layer after the module that holds the weight, a bare parameter after itself
(without ``weight``), and an operator of a function after the module that calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

PRODUCTS: Final = frozenset(
    ("matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "einsum", "qk", "av")
)
"""Last part of the name of a product of two activations."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor of a module.

    Attributes:
        owner: qualified name of the module; the root is empty.
        tensor: attribute of the module.
    """

    owner: str
    tensor: str

    @property
    def input_quantizer(self) -> str:
        """Attribute under which the owner holds the quantiser of what the layer reads."""
        prefix = "" if self.tensor == "weight" else f"{self.tensor}_"
        return f"{prefix}input_quantizer"


def module_name(layer_name: str) -> str:
    """Qualified name of the module behind a workload's layer; ``conv#2`` is its second use.

    >>> module_name("block.conv#2")
    'block.conv'
    """
    return layer_name.partition("#")[0]


def find_weight(modules: Mapping[str, nn.Module], layer_name: str) -> Place | None:
    """The tensor that a layer multiplies with, if the network has it."""
    name = module_name(layer_name)
    owner, _, leaf = name.rpartition(".")
    for place in (Place(name, "weight"), Place(owner, leaf), Place(owner, f"{leaf}_weight")):
        if isinstance(getattr(modules.get(place.owner), place.tensor, None), Tensor):
            return place
    return None


def is_product(layer_name: str) -> bool:
    """Whether a name is one that products of two activations get.

    >>> is_product("encoder.attention.qk#2"), is_product("encoder.query")
    (True, False)
    """
    return module_name(layer_name).rpartition(".")[2] in PRODUCTS


def product_owner(modules: Mapping[str, nn.Module], layer_name: str) -> Place:
    """The module that runs a product, and the attribute that holds its quantisers there."""
    parts = module_name(layer_name).split(".")
    count = next(n for n in range(len(parts) - 1, -1, -1) if ".".join(parts[:n]) in modules)
    owner = ".".join(parts[:count])
    label = layer_name.removeprefix(owner).strip(".")
    return Place(owner, label.replace(".", "_").replace("#", "_") + "_operands")


def holders(model: nn.Module, tensor: Tensor) -> Iterator[Place]:
    """Every place of a network that holds the same parameter."""
    for owner, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter is tensor:
                yield Place(owner, name)
