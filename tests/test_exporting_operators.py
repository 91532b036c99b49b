"""A stored graph may call what computes, and nothing that acts."""

from __future__ import annotations

import pytest

from mlflow_pt_eval.exporting.operators import may_call


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.linear.default",
        "torch.ops.aten.add.Tensor",
        "torch.ops.aten.einsum.default",
        "torch.ops.aten.div.Tensor_mode",
        "torch.ops.aten.normal_.default",
        "torch.ops.aten._assert_scalar.default",
        "torch.ops.aten.sym_size.int",
        "torch.ops.aten._to_copy.default",
        "torch.ops.prims.convert_element_type.default",
        "torch.ops.higher_order.cond",
        "torch.ops.higher_order.wrap_with_autocast",
        "_operator.getitem",
        "_operator.floordiv",
        "math.ceil",
        "torch.sym_max",
        "torch._sym_sqrt",
    ],
)
def test_what_computes_may_be_called(target: str) -> None:
    """Torch's operators on tensors and numbers, control flow, and arithmetic on sizes."""
    assert may_call(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.hub.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.from_file.out",
        "torch.ops.aten.save.default",
        "torch.ops.aten.warn.default",
        "torch.ops.aten._print.default",
        "torch.ops.aten.manual_seed.default",
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.record_stream.default",
        "torch.ops.aten.add.overloads",
        "torch.ops.aten.add.__class__",
        "torch.ops.aten.no_such.default",
        "torch.ops.aten.linear.default.__call__",
        "torch.ops.higher_order.call_torchbind",
        "torch.ops.higher_order.print",
        "torch.ops.higher_order.inline_asm_elementwise",
        "torch.ops.c10d.broadcast_.default",
        "torch.ops.profiler._record_function_enter.default",
        "torch.ops.mine.anything.default",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "_operator.call",
        "_operator.setitem",
        "math.__loader__.load_module",
        "#mine:anything",
        "builtins.exec",
        "linear",
        "",
    ],
)
def test_what_acts_may_not(target: str) -> None:
    """No file, no library, no terminal, no random state, no other process, nothing by a way through modules."""
    assert not may_call(target)
