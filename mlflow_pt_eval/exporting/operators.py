"""Which functions a stored graph may call: those that compute tensors and numbers from tensors and numbers."""

from __future__ import annotations

import functools
import re

import torch
from torch._ops import OpOverload

_OVERLOAD = re.compile(r"torch\.ops\.(aten|prims|quantized|quantized_decomposed|torchvision)\.(\w+)\.(\w+)")
_HIGHER = re.compile(
    # What an export makes of torch.cond and its like, of no_grad and autocast, and of torch.utils.checkpoint: each
    # runs a graph that is checked as this one is.
    r"torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|map_impl|wrap|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast|wrap_activation_checkpoint|tag_activation_checkpoint|autograd_function_apply"
    r"|flex_attention|out_dtype|hints_wrapper|strict_mode|invoke_subgraph)"
)
_PYTHON = re.compile(
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|index|lshift|rshift|and_|or_|xor|not_|inv"
    r"|invert|eq|ne|lt|le|gt|ge)"
    r"|math\.[a-z]\w*|torch\._?sym_\w+"
    r"|torch\._functorch\.predispatch\.(lazy_load_decompositions|_add_batch_dim|_remove_batch_dim"
    r"|_vmap_(increment|decrement)_nesting)"
)
_ARGUMENT = re.compile(r"((List|Optional)\[)*(Tensor|int|float|bool|number|complex|str|Device|Generator)\]*")
_ACTING = {"_print", "set", "set_"}  # one writes to the terminal, the others exchange a tensor's memory


@functools.lru_cache(maxsize=4096)
def may_call(target: str) -> bool:
    """Say whether the function that a graph names only computes: it reads and writes no file and runs no code.

    Of torch's operators, those that take nothing but tensors, numbers and options, by their own schema.
    """
    operator = _OVERLOAD.fullmatch(target)
    if operator is None:
        return _HIGHER.fullmatch(target) is not None or _PYTHON.fullmatch(target) is not None
    return _computes(*operator.groups())


def _computes(namespace: str, name: str, overload: str) -> bool:
    found = getattr(getattr(getattr(torch.ops, namespace), name, None), overload, None)
    if not isinstance(found, OpOverload) or name in _ACTING:
        return False
    # TorchScript has functions of its own under the same names, such as aten::save, which pickles into a file.
    full = f"{namespace}::{name}" + ("" if overload == "default" else f".{overload}")
    return full in torch._C._dispatch_get_all_op_names() and all(
        _ARGUMENT.fullmatch(str(argument.type)) and "file" not in argument.name for argument in found._schema.arguments
    )
