"""Which module of the exported network an ONNX operator came from, as far as the file tells.

torch's older exporter writes the modules into the operator's name
(``/layer1/layer1.0/conv1/Conv``), the newer one into metadata beside it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Final

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_CLASSES: Final = "pkg.torch.onnx.class_hierarchy"
_CALL: Final = "pkg.torch.onnx.fx_node"
_USE: Final = re.compile(r"_\d+(?=\.|$)")
_PARAMETER: Final = re.compile(r"%p_(\w+)")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an operator ran.

    Attributes:
        path: qualified name of the innermost module; the root is empty.
        operator: torch's operator, or ONNX's in small letters where the file does not tell.
        kind: class of that module with its package; empty where the file does not tell.
        parameter: the first parameter that the operator takes, as the module calls it.
    """

    path: str
    operator: str
    kind: str = ""
    parameter: str = ""

    def uses(self, module: str) -> bool:
        """Whether it is a module, or a later use of it, which the older exporter numbers.

        >>> Scope("block_1.conv", "conv").uses("block.conv")
        True
        """
        return self.path == module or _USE.sub("", self.path) == _USE.sub("", module)


def scope_of(raw: Any, op: str) -> Scope | None:
    """The scope of one operator; None if the file says nothing of it.

    Args:
        raw: the operator as the file has it.
        op: its type.
    """
    noted = {entry.key: entry.value for entry in raw.metadata_props}
    scopes, classes = _listed(noted.get(_SCOPES, "")), _listed(noted.get(_CLASSES, ""))
    if scopes and len(scopes) == len(classes) > 1:
        # The last entry is the operator itself: 'aten.linear.default'.
        path, operator = scopes[-2], (*classes[-1].split("."), "")[1]
        parameter = _own_parameter(noted.get(_CALL, ""), path)
        return Scope(path, operator.strip("_") or op.lower(), classes[-2], parameter)
    if raw.name.startswith("/"):
        return Scope(module_path(raw.name), op.lower())
    return None


def _listed(text: str) -> list[str]:
    """A list of strings as Python writes it; nothing if it is something else."""
    try:
        found = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return []
    return found if isinstance(found, list) and all(isinstance(i, str) for i in found) else []


def _own_parameter(call: str, path: str) -> str:
    """Name within its module of the first parameter that a call takes.

    >>> _own_parameter("%linear = linear.default](args = (%x, %p_attn_in_proj_weight))", "attn")
    'in_proj_weight'
    """
    match = _PARAMETER.search(call)
    prefix = f"{path.replace('.', '_')}_" if path else ""
    if match is None or not match[1].startswith(prefix):
        return ""
    return match[1].removeprefix(prefix)


def module_path(scope: str) -> str:
    """The module's qualified name in a node name of torch's older exporter, without the operator.

    >>> module_path("/layer1/layer1.0/conv1/Conv")
    'layer1.0.conv1'
    >>> module_path("/Flatten")
    ''
    """
    path: list[str] = []
    for part in scope.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path[-1] = part
        else:
            path.append(part)
    return ".".join(path)
