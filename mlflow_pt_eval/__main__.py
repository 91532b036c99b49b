"""`python -m mlflow_pt_eval` is `mlflow-pt-eval`."""

from __future__ import annotations

import sys

from mlflow_pt_eval.cli import main

sys.exit(main())
