"""Check what a wheel and an sdist hold: python .ci/contents.py WHEEL SDIST"""

from __future__ import annotations

import sys
import tarfile
import zipfile

IN_WHEEL = ("mlflow_pt_eval/__init__.py", "mlflow_pt_eval/py.typed", "mlflow_pt_eval/cli/__init__.py")
IN_SDIST = (
    *("LICENSE", "README.md", "CHANGELOG.md", "MLproject", "conda.yaml", "constraints.txt", "pyproject.toml"),
    *("mlflow_pt_eval/py.typed", "docs/concepts.md", "docs/make_api.py", "docs/images/roc_curve.png"),
    *("projects/digits/MLproject", "projects/digits/train.py", "tests/conftest.py", "tests/test_docs.py"),
)
NEVER = ("__pycache__", "mlflow.db", "mlruns", "mlartifacts", ".hypothesis", ".git/")

with zipfile.ZipFile(sys.argv[1]) as archive:
    wheel = archive.namelist()
with tarfile.open(sys.argv[2]) as archive:
    sdist = [name.partition("/")[2] for name in archive.getnames()]

missing = [name for name in IN_WHEEL if name not in wheel] + [name for name in IN_SDIST if name not in sdist]
missing += [] if any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel) else ["the wheel's LICENSE"]
strange = [name for name in wheel if not name.startswith(("mlflow_pt_eval/", "mlflow_pt_eval-"))]
strange += [name for name in (*wheel, *sdist) if any(part in name for part in NEVER)]
if missing or strange:
    sys.exit(f"missing: {', '.join(missing) or 'nothing'}; should not be there: {', '.join(strange) or 'nothing'}")
print(f"{len(wheel)} files in the wheel, {len(sdist)} in the sdist: as they should be.")
