"""A new run in the store: what of the caller's it must not depend on."""

from __future__ import annotations

import random

from mlflow_pt_eval.tracking.runs import create_run
from mlflow_pt_eval.tracking.store import connect


def test_runs_of_a_seeded_script_have_names_of_their_own(tracking):
    """MLflow draws them from Python's random numbers, which each training finds as they were before the last one."""
    store, names = connect(), set()
    for _ in range(4):
        random.seed(0)
        expected = random.random()
        random.seed(0)
        run = create_run(store, {})
        names.add(store.client.get_run(run.run_id).info.run_name)
        assert random.random() == expected
    assert len(names) > 1
