"""The processes of one training: who this one is among them, what they tell one another, what they agree on.

They talk through the store that torch.distributed keeps for its process group, so none of it is a collective that
could get in between those of the user's loop, and whoever waits can say for whom.
"""

from __future__ import annotations

from mlflow_pt_eval.distributed.courier import Courier
from mlflow_pt_eval.distributed.ranks import Alone, Ranks
from mlflow_pt_eval.distributed.stopping import Ask
from mlflow_pt_eval.distributed.together import Together, current

__all__ = ["Alone", "Ask", "Courier", "Ranks", "Together", "current"]
