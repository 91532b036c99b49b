"""A graph that was exported on the CPU, moved to another device."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.export.passes import move_to_device_pass

from mlflow_pt_eval.errors import BadInput

_AUTOCAST = ("wrap_with_autocast", "_enter_autocast")


def moved(program: torch.export.ExportedProgram, device: torch.device) -> torch.export.ExportedProgram:
    """Return *program* with its weights, its constants and the devices that its graph names on *device*.

    An autocast, which torch's own pass leaves on the CPU, is the device's then. Errors: BadInput where the device
    has none.
    """
    program = move_to_device_pass(program, str(device))
    move_autocast(program.graph_module, device.type)
    return program


def move_autocast(graph: nn.Module, device_type: str) -> None:
    """Make each autocast of the CPU in *graph* one of *device_type*; BadInput where that has none."""
    for node in (
        node for module in graph.modules() if isinstance(module, fx.GraphModule) for node in module.graph.nodes
    ):
        if getattr(node.target, "__name__", "") in _AUTOCAST and node.args[:1] == ("cpu",):
            if not torch.amp.is_autocast_available(device_type):
                raise BadInput(
                    f"the exported graph uses autocast, which torch has not on '{device_type}': load it on the CPU, "
                    "or give into=MyNet(), an object of its class, which takes the weights."
                )
            node.args = (device_type, *node.args[1:])
