"""A criterion's description tells two criteria apart, and is the same in every process."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mlflow_pt_eval.evaluation.criterion import LONGEST, describe_criterion

CE = nn.CrossEntropyLoss


class Both(nn.Module):
    """A criterion of the user's own, of others."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.api_key = share, "secret"
        self.one, self.other = CE(), nn.MSELoss()


class Called:
    """A criterion that is no module."""

    def __init__(self, gamma: float) -> None:
        self.gamma, self.token = gamma, "secret"

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ((outputs - targets) ** self.gamma).mean()


OTHERS = [
    *(CE(), CE(label_smoothing=0.1), CE(reduction="sum"), CE(torch.ones(3)), CE(torch.tensor([1.0, 1.0, 2.0]))),
    *(nn.MSELoss(), Both(0.1), Both(0.2), Called(1.0), Called(2.0), nn.functional.cross_entropy),
    functools.partial(nn.functional.cross_entropy, label_smoothing=0.1),
    functools.partial(nn.functional.cross_entropy, label_smoothing=0.2),
]


def test_other_settings_are_another_description() -> None:
    """Class weights, smoothing, the parts of a sum: whatever changes the losses; no text that may be secret."""
    texts = [describe_criterion(each) for each in OTHERS]
    assert len(set(texts)) == len(texts)
    assert not any("secret" in text or " at 0x" in text for text in texts)
    assert texts == [describe_criterion(each) for each in OTHERS]
    assert len(describe_criterion(nn.Sequential(*OTHERS[:6] * 40))) <= LONGEST


def test_the_mode_does_not_count() -> None:
    """A criterion in eval mode is the same criterion."""
    assert describe_criterion(CE().eval()) == describe_criterion(CE())


@pytest.mark.parametrize("how", [["mine.py"], ["-c", "import mine"]])
def test_a_scripts_function_is_called_as_its_import_is(how: list[str], tmp_path: Path) -> None:
    """The training is the script, the evaluation imports it: one criterion."""
    lines = [
        "from mlflow_pt_eval.evaluation.criterion import describe_criterion",
        "def loss(outputs, targets): ...",
        "print(describe_criterion(loss))",
    ]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    done = subprocess.run([sys.executable, *how], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "mine.loss\n"
