"""The digest: one name for one content, however it is read."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput

X = torch.randn(37, 3, 2, generator=torch.Generator().manual_seed(0))
Y = torch.arange(37) % 5


class Items(Dataset):
    """The same samples, one by one."""

    def __len__(self):
        return len(Y)

    def __getitem__(self, index):
        return X[index], Y[index]


def of(source, **options):
    """Load and digest."""
    return digest(load_data(source, **options))


def test_the_digest_is_the_same_however_the_data_is_read():
    """Batch size, workers, shuffling, the kind of container: none of them is content."""
    forms = [
        of((X, Y)),
        of((X, Y), batch_size=5),
        of((X.numpy().astype("float64"), Y.numpy().astype("int32"))),
        of(TensorDataset(X, Y), batch_size=1),
        of(DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True)),
        of(DataLoader(Items(), batch_size=8, num_workers=2)),
        of(DataLoader(Items(), batch_size=10, shuffle=True, drop_last=True)),
        of((X.transpose(1, 2).contiguous().transpose(1, 2), Y.float())),
    ]
    assert len(set(forms)) == 1


def test_the_digest_is_the_documented_one():
    """Anybody can compute it: a hasher each, dtype and shape at the head, the count at the end, then both together."""
    inputs = hashlib.sha256(b"inputs\nfloat32 (3, 2)\n" + X.numpy().tobytes() + b"\n37").digest()
    labels = hashlib.sha256(b"labels\nint64 ()\n" + Y.numpy().tobytes() + b"\n37").digest()
    assert of((X, Y)) == hashlib.sha256(inputs + labels).hexdigest()[:32]


def _changed(index, value):
    copy = X.clone()
    copy.view(-1)[index] = value
    return copy


@pytest.mark.parametrize(
    "source",
    [
        (_changed(-1, 9.0), Y),
        (_changed(0, 9.0), Y),
        (X, torch.where(torch.arange(37) == 36, 4 - Y, Y)),
        (X.flip(0), Y),
        (X[:-1], Y[:-1]),
        (X.reshape(37, 2, 3), Y),
        (X.double(), Y),
        ((X,), Y),
        ((X, X), Y),
        ({"x": X}, Y),
    ],
)
def test_any_change_changes_the_digest(source):
    """MLflow's own digest looks at the first rows only."""
    assert of(source) != of((X, Y))


def test_the_parts_of_a_mapping_are_known_by_name():
    """Not by the order in which they were put in."""
    one, other = {"a": X, "b": X + 1}, {"b": X + 1, "a": X}
    assert of((one, Y)) == of((other, Y))
    assert of((one, Y)) != of(({"a": X + 1, "b": X}, Y))


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.complex64, torch.int64]
)
def test_every_dtype_has_a_digest(dtype):
    """Also those that NumPy does not know."""
    assert of((X.to(dtype), Y)) == of((X.to(dtype), Y), batch_size=3) != of((X, Y))


def test_an_error_in_the_hashing_thread_is_raised():
    """Not lost with the thread."""
    sparse = torch.eye(37).to_sparse()
    with pytest.raises(BadInput, match="needs dense inputs"):
        of(iter([(sparse, Y)]))
