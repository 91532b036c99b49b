"""Capture and restore of everything that a training's future depends on: torch's door for training."""

from __future__ import annotations

from mlflow_pt_eval.state.buffers import Buffers
from mlflow_pt_eval.state.codec import encode
from mlflow_pt_eval.state.decoding import decode
from mlflow_pt_eval.state.differences import first_difference
from mlflow_pt_eval.state.digest import weights_sha256
from mlflow_pt_eval.state.flags import Flags, capture_flags, other_flags, restore_flags
from mlflow_pt_eval.state.generators import capture_generators, find_generators, restore_generators
from mlflow_pt_eval.state.norms import capture_norms, restore_norms
from mlflow_pt_eval.state.position import Positioned, Skip
from mlflow_pt_eval.state.resharding import assemble, take_up_shards
from mlflow_pt_eval.state.rng import capture_rng, preserved_rng, restore_rng
from mlflow_pt_eval.state.sharding import SHARDS_KEY, Shard, check_sharding, index_of, is_part, take_shard
from mlflow_pt_eval.state.storage import load_tree, save_tree, tree_bytes, tree_of
from mlflow_pt_eval.state.tree import RestoreReport, Stateful, capture_state, check_state, restore_state

__all__ = [
    "SHARDS_KEY",
    "Buffers",
    "Flags",
    "Positioned",
    "RestoreReport",
    "Shard",
    "Skip",
    "Stateful",
    "assemble",
    "capture_flags",
    "capture_generators",
    "capture_norms",
    "capture_rng",
    "capture_state",
    "check_sharding",
    "check_state",
    "decode",
    "encode",
    "find_generators",
    "first_difference",
    "index_of",
    "is_part",
    "load_tree",
    "other_flags",
    "preserved_rng",
    "restore_flags",
    "restore_generators",
    "restore_norms",
    "restore_rng",
    "restore_state",
    "save_tree",
    "take_shard",
    "take_up_shards",
    "tree_bytes",
    "tree_of",
    "weights_sha256",
]
