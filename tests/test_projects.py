"""The projects as a newcomer runs them: `mlflow run` and plain Python, in a copy of the repository."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.projects._project_spec import load_project
from test_project_data import write_cifar10, write_mnist

from mlflow_pt_eval import names
from mlflow_pt_eval.cli import build_parser
from mlflow_pt_eval.cli.params import positive_int, training_parser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECTS = ("digits", "breast_cancer", "mnist", "cifar10")
FIGURES = {
    names.CONFUSION_PNG,
    names.CONFUSION_NORMALIZED_PNG,
    names.ROC_PNG,
    names.PRECISION_RECALL_PNG,
    names.CALIBRATION_PNG,
}
TABLES = {names.PER_CLASS_CSV, names.EVALUATION_JSON, names.REPORT_HTML, names.PREDICTIONS_PARQUET}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone has, so that no run leaves anything in the repository itself."""
    folder = tmp_path_factory.mktemp("clone") / "mlflow_pt_eval"
    folder.mkdir()
    left_by_runs = shutil.ignore_patterns("__pycache__", "mlruns", "mlartifacts", "mlflow.db*")
    shutil.copytree(ROOT / "mlflow_pt_eval", folder / "mlflow_pt_eval", ignore=left_by_runs)
    for name in PROJECTS:
        (folder / "projects" / name).mkdir(parents=True)
        for file in (ROOT / "projects" / name).iterdir():
            if file.is_file():
                shutil.copy2(file, folder / "projects" / name)
    for name in ("MLproject", "conda.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def run(checkout: Path) -> Run:
    """Run a command in the copy, as if its environment had been activated; return what it printed and its status."""
    away = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT", "MLFLOW_TRACKING", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(away)} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",  # threads that wait for busy cores make the tiny trainings slower, not faster
    }

    def start(*command: object, **further: str) -> subprocess.CompletedProcess[str]:
        arguments = [str(word) for word in command]
        return subprocess.run(
            arguments, cwd=checkout, env=environment | further, capture_output=True, text=True, timeout=300
        )

    return start


def mlflow_run(run: Run, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `mlflow run` with the environment that is there."""
    return run("mlflow", "run", *arguments, "--env-manager", "local")


@pytest.fixture(scope="module")
def first(checkout: Path, run: Run) -> subprocess.CompletedProcess[str]:
    """The README's first command, once for the module."""
    finished = mlflow_run(run, ".")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture(scope="module")
def client(first: object, checkout: Path) -> MlflowClient:
    """The store that the first command made in its working directory."""
    return MlflowClient(f"sqlite:///{checkout}/mlflow.db")


def runs_of(client: MlflowClient, kind: str) -> list[Any]:
    """Return the runs of a kind, newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=f"tags.`{names.TAG_KIND}` = '{kind}'"))


def versions_of(client: MlflowClient, name: str) -> list[int]:
    """Return the numbers of a model's versions, sorted."""
    return sorted(int(version.version) for version in client.search_model_versions(f"name='{name}'"))


# --- the first command ------------------------------------------------------------------------
def test_the_first_command_registers_a_challenger_and_evaluates_it(client: MlflowClient) -> None:
    """Version 1 has the alias and its test accuracy on its tags: at least 0.95 on a split that no training saw."""
    version = client.get_model_version_by_alias("digits", names.CHALLENGER)
    assert int(version.version) == 1
    assert float(version.tags[names.TAG_TEST_ACCURACY]) >= 0.95
    evaluation = client.get_run(version.tags[names.TAG_EVALUATION_RUN_ID])
    assert f"{evaluation.data.metrics['test_accuracy']:.6f}" == version.tags[names.TAG_TEST_ACCURACY]
    assert evaluation.data.metrics["test_n_samples"] == 360
    assert evaluation.data.tags[names.TAG_MODEL_URI] == "models:/digits/1"


def test_the_evaluation_has_every_artifact_at_its_root(client: MlflowClient) -> None:
    """The UI compares root-level files only."""
    (evaluation,) = runs_of(client, names.KIND_EVALUATION)
    there = {item.path for item in client.list_artifacts(evaluation.info.run_id) if not item.is_dir}
    assert there >= FIGURES | TABLES


def test_the_training_and_its_evaluation_are_two_finished_runs(client: MlflowClient) -> None:
    """The evaluation is the training's child; both statuses are true."""
    (training,) = runs_of(client, names.KIND_TRAINING)
    (evaluation,) = runs_of(client, names.KIND_EVALUATION)
    assert (training.info.status, evaluation.info.status) == ("FINISHED", "FINISHED")
    assert evaluation.data.tags[names.MLFLOW_PARENT_RUN_ID] == training.info.run_id
    assert len(client.search_runs([training.info.experiment_id])) == 2


def test_the_first_command_leaves_its_store_and_nothing_else(
    first: object, client: MlflowClient, checkout: Path
) -> None:
    """A newcomer finds mlflow.db and the artifacts beside it; staging is empty and gone."""
    allowed = {"mlflow_pt_eval", "projects", "MLproject", "conda.yaml", "mlflow.db", "mlartifacts", "mlruns"}
    assert {path.name for path in checkout.iterdir()} <= allowed
    assert {path.name for path in (checkout / "projects").iterdir()} == set(PROJECTS)


def test_the_same_seed_is_no_new_version_and_another_seed_is_version_2(run: Run, client: MlflowClient) -> None:
    """The same seed gives the same weights, bit for bit; the test split stays the same for both seeds."""
    for seed, expected in ((0, [1]), (1, [1, 2])):
        finished = mlflow_run(run, ".", "-P", f"seed={seed}")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert versions_of(client, "digits") == expected
    one, two = (client.get_model_version("digits", number).tags for number in ("1", "2"))
    assert one[names.TAG_WEIGHTS_SHA256] != two[names.TAG_WEIGHTS_SHA256]
    assert one[names.TAG_DATASET_DIGEST] == two[names.TAG_DATASET_DIGEST]


def test_the_evaluate_entry_point_finds_the_same_data(run: Run, client: MlflowClient) -> None:
    """By alias, in a process that has never seen the model's class: the same digest and the same accuracy."""
    before = client.get_model_version_by_alias("digits", names.CHALLENGER)
    finished = mlflow_run(run, ".", "-e", "evaluate", "-P", "model_uri=models:/digits@challenger")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    after = client.get_model_version_by_alias("digits", names.CHALLENGER)
    assert after.tags[names.TAG_EVALUATION_RUN_ID] != before.tags[names.TAG_EVALUATION_RUN_ID]
    for tag in (names.TAG_TEST_ACCURACY, names.TAG_DATASET_DIGEST):
        assert after.tags[tag] == before.tags[tag]


def test_a_mistyped_parameter_is_one_line_and_trains_nothing(run: Run, client: MlflowClient) -> None:
    """MLflow passes what it does not know on; the training says what was meant."""
    before = len(runs_of(client, names.KIND_TRAINING))
    finished = mlflow_run(run, ".", "-P", "ecpohs=3")
    assert finished.returncode != 0
    lines = [line for line in finished.stderr.splitlines() if "ecpohs" in line and "INFO" not in line]
    assert lines == ["train.py: unknown parameter '--ecpohs'; did you mean --epochs? --help lists all."]
    assert "Traceback" not in finished.stderr
    assert len(runs_of(client, names.KIND_TRAINING)) == before


def test_several_processes_train_one_run(run: Run, client: MlflowClient) -> None:
    """`-P nproc=2` goes on under torchrun: one more training, finished, its best epoch one more version."""
    before, known = len(runs_of(client, names.KIND_TRAINING)), versions_of(client, "digits")
    finished = mlflow_run(run, ".", "-e", "train", "-P", "nproc=2", "-P", "epochs=3")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    training, *others = runs_of(client, names.KIND_TRAINING)
    assert len(others) == before
    assert (training.info.status, training.data.params["nproc"]) == ("FINISHED", "2")
    assert training.data.metrics["val_accuracy"] > 0.5
    assert len(versions_of(client, "digits")) == len(known) + 1


# --- each project by itself -------------------------------------------------------------------
def test_a_project_runs_by_itself(run: Run, client: MlflowClient) -> None:
    """`mlflow run projects/breast_cancer`: a model with one logit for two classes."""
    finished = mlflow_run(run, "projects/breast_cancer", "-P", "epochs=25")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    version = client.get_model_version_by_alias("breast_cancer", names.CHALLENGER)
    metrics = client.get_run(version.tags[names.TAG_EVALUATION_RUN_ID]).data.metrics
    assert metrics["test_accuracy"] >= 0.9
    assert metrics["test_roc_auc"] >= 0.97


@pytest.fixture
def tiny_files(tmp_path: Path) -> Iterator[Path]:
    """Tiny files in the formats of MNIST and CIFAR-10."""
    write_mnist(tmp_path, zipped=True)
    write_cifar10(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "extra"), [("mnist", []), ("cifar10", ["-P", "limit=100"])])
def test_an_image_project_runs_on_files_that_are_there(
    name: str, extra: list[str], run: Run, client: MlflowClient, tiny_files: Path
) -> None:
    """`-P data_dir=` takes the place of the download; parameters that may be empty survive MLflow's quoting."""
    finished = mlflow_run(run, f"projects/{name}", "-P", "epochs=1", "-P", f"data_dir={tiny_files}", *extra)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    version = client.get_model_version_by_alias(name, names.CHALLENGER)
    assert client.get_run(version.tags[names.TAG_EVALUATION_RUN_ID]).data.metrics["test_n_samples"] == 20


def test_a_training_is_a_plain_script_too(run: Run, client: MlflowClient) -> None:
    """`python projects/digits/train.py` trains and registers, and evaluates only if asked to."""
    evaluations = len(runs_of(client, names.KIND_EVALUATION))
    finished = run("python", "projects/digits/train.py", "--epochs", 1, "--register-as", "plain", PYTHONPATH=".")
    assert finished.returncode == 0, finished.stderr
    assert versions_of(client, "plain") == [1]
    assert len(runs_of(client, names.KIND_EVALUATION)) == evaluations


@pytest.mark.parametrize("name", PROJECTS)
def test_a_bad_value_is_one_line_and_status_2(name: str, run: Run) -> None:
    """Every training checks its parameters before it starts anything."""
    finished = run("python", f"projects/{name}/train.py", "--lr", "abc", PYTHONPATH=".")
    assert finished.returncode == 2
    assert finished.stderr == "train.py: --lr: 'abc' is not a number; give a number greater than 0.\n"


# --- what the files say -----------------------------------------------------------------------
def entry_points(folder: Path) -> dict[str, Any]:
    """Return a project's entry points as MLflow reads them."""
    return load_project(str(folder))._entry_points


def command_of(entry_point: Any) -> list[str]:
    """Return the words of an entry point's command with its defaults, without what stands before the program."""
    words = shlex.split(entry_point.compute_command({}, None))
    return words[words.index("python") + 1 :]


@pytest.mark.parametrize("name", ["evaluate", "compare", "promote", "rollback"])
def test_a_verb_takes_its_entry_point_s_defaults(name: str) -> None:
    """The command line reads what MLproject writes."""
    words = command_of(entry_points(ROOT)[name])
    assert words[:3] == ["-m", "mlflow_pt_eval", name]
    assert build_parser().parse_args(words[2:]).verb == name


def defaults_of(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the defaults that a project's train.py gives to its parser."""
    modules = ("data", "model")
    monkeypatch.syspath_prepend(str(ROOT / "projects" / name))
    for module in modules:
        sys.modules.pop(module, None)
    main = runpy.run_path(str(ROOT / "projects" / name / "train.py"))["main"]
    for module in modules:
        sys.modules.pop(module, None)
    asked: dict[str, Any] = {}

    def ask(_: str, **defaults: Any) -> Any:
        asked.update(defaults)
        raise SystemExit

    main.__globals__["training_parser"] = ask
    with pytest.raises(SystemExit):
        main()
    return asked


@pytest.mark.parametrize(("folder", "name"), [("", "digits"), *((f"projects/{name}", name) for name in PROJECTS)])
def test_mlproject_and_train_py_agree_on_the_defaults(folder: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training, whichever way it is started; `main` evaluates, `train` does not."""
    defaults = defaults_of(name, monkeypatch)
    points = entry_points(ROOT / folder)
    for point in [point for point in ("main", "train") if point in points]:
        parser = training_parser(None, **defaults)
        parser.add_argument("--data-dir")
        parser.add_argument("--limit")
        parser.add_argument("--nproc", type=positive_int, default=1)
        by_mlflow = vars(parser.parse_args(command_of(points[point])[1:]))
        by_hand = vars(parser.parse_args([])) | {"evaluate": point == "main"}
        assert {key: value or None for key, value in by_mlflow.items()} == {k: v or None for k, v in by_hand.items()}


@pytest.mark.parametrize("folder", ["", *(f"projects/{name}" for name in PROJECTS)])
def test_an_environment_holds_the_package_s_dependencies_at_the_tested_versions(folder: str) -> None:
    """conda.yaml, constraints.txt and pyproject.toml name the same libraries, and nothing that would go stale."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pins = set(re.findall(r"^\S+==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    python, pip, packages = yaml.safe_load((ROOT / folder / "conda.yaml").read_text())["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    further = {"optuna"} if "sweep" in entry_points(ROOT / folder) else set()
    named = {pin.partition("==")[0] for pin in packages["pip"]}
    assert named == {re.match(r"[\w-]+", line)[0] for line in needed} | further
    assert set(packages["pip"]) <= pins
