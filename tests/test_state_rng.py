"""Random number generators: everything they have is captured, nothing is drawn, everything comes back."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from mlflow_pt_eval.errors import StateMismatch
from mlflow_pt_eval.state import capture_rng, first_difference, preserved_rng, restore_rng


def draws():
    """Draw from every global generator, the cached half of a pair of normal numbers among them."""
    return [
        *(random.random(), random.gauss(0, 1), random.getrandbits(70)),
        *(np.random.rand(), np.random.standard_normal(), np.random.randint(1 << 30)),  # noqa: NPY002
        *(
            torch.rand(()).item(),
            torch.randn(3).tolist(),
            torch.randperm(9).tolist(),
            torch.nn.init.normal_(torch.zeros(17)).tolist(),
        ),
    ]


def leaves(tree):
    """Return the leaves of nested dicts and lists."""
    if isinstance(tree, dict | list):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


@pytest.mark.parametrize("before", [0, 1, 2, 700])
def test_generators_go_on_from_where_they_were(before):
    """After any number of draws, with or without a cached normal number."""
    for _ in range(before):
        random.random(), random.gauss(0, 1), np.random.standard_normal(), torch.randn(())  # noqa: NPY002
    rng = capture_rng()
    then = draws()
    draws()
    restore_rng(rng)
    assert draws() == then


def test_capturing_draws_nothing():
    """A tracked training sees the numbers that a bare one does."""
    before = capture_rng()
    capture_rng()
    assert first_difference(before, capture_rng()) is None


def test_only_tensors_and_ints_are_stored():
    """So every reader of weights_only takes them, of any version."""
    random.gauss(0, 1), np.random.standard_normal()  # noqa: NPY002
    rng = capture_rng()
    assert {type(leaf) for leaf in leaves(rng)} == {int, torch.Tensor}
    file = io.BytesIO()
    torch.save(rng, file)
    file.seek(0)
    assert first_difference(torch.load(file, weights_only=True), rng) is None


def test_what_was_captured_doesnt_move():
    """The generators' own memory is not what is handed out."""
    rng = capture_rng()
    words = rng["numpy"]["state"]["key"].clone()
    np.random.rand(2000), [random.random() for _ in range(2000)]  # noqa: NPY002
    assert torch.equal(rng["numpy"]["state"]["key"], words)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM])
def test_any_bit_generator_can_be_numpys_global_one(kind):
    """NumPy lets a program set it."""
    old = np.random.get_bit_generator()
    np.random.set_bit_generator(kind(3))
    try:
        rng = capture_rng()
        then = np.random.rand(3).tolist()  # noqa: NPY002
        restore_rng(rng)
        assert np.random.rand(3).tolist() == then  # noqa: NPY002
    finally:
        np.random.set_bit_generator(old)


def test_preserved_means_preserved_also_through_an_error():
    """Whatever of ours runs beside a training leaves its numbers alone."""
    random.gauss(0, 1), np.random.standard_normal()  # noqa: NPY002
    before = capture_rng()
    with pytest.raises(TypeError), preserved_rng():
        draws(), random.seed(1), np.random.seed(1), torch.manual_seed(1), torch.rand("no size")  # noqa: NPY002
    assert first_difference(before, capture_rng()) is None


def test_missing_devices_are_an_error_before_anything_changes():
    """Random numbers of a GPU that isn't there cannot go on; that is for the owner to decide."""
    rng = {**capture_rng(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * (torch.cuda.device_count() + 1)}
    draws()
    here = capture_rng()
    with pytest.raises(StateMismatch, match="CUDA device"):
        restore_rng(rng)
    assert first_difference(here, capture_rng()) is None


def test_missing_devices_can_be_left_out():
    """Told so, the rest is restored."""
    rng = {**capture_rng(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * (torch.cuda.device_count() + 1)}
    if torch.cuda.device_count():
        pytest.skip("would set the devices' generators")
    then = draws()
    restore_rng(rng, strict=False)
    assert draws() == then


def test_cuda_is_not_initialised_for_it():
    """A process that does not use CUDA must not get a CUDA context (and its memory) from us."""
    code = (
        "import torch; from mlflow_pt_eval.state import capture_rng, preserved_rng\n"
        "with preserved_rng(): capture_rng()\n"
        "assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
