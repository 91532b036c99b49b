"""`TrainingRun`: what is committed, kept, logged and said, and how a run ends."""

from __future__ import annotations

import json
import logging
import math
import signal
from pathlib import Path

import mlflow
import pytest
import torch
from loops import Crash, Parts, wrapped
from torch.utils.data import DataLoader, TensorDataset

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, MetricNotLogged, NotFound, RunConflict, StateMismatch
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.store import connect

EXAMPLE = torch.zeros(2, 4)
# These epochs take a millisecond; by default a checkpoint would be skipped while the one before is being written.
WAIT = mpe.ModelCheckpoint(when_busy="wait")


class Counter:
    """The smallest Stateful: it counts."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def model() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


def scored(scores, *, callbacks=(), epochs=None, key="val_accuracy", **options):
    """Train for as long as there are scores, logging one an epoch; the model's bias holds the epoch."""
    net = model()
    run = mpe.TrainingRun({"model": net}, callbacks=callbacks, **options)
    with run:
        for epoch in run.epochs(len(scores) if epochs is None else epochs):
            torch.nn.init.constant_(net.bias, epoch)
            if scores[epoch] is not None:
                run.log(**{key: scores[epoch]})
    return run


def stored(run_id):
    """The names of the checkpoints that a run has."""
    return [str(name) for name in Checkpoints.of(connect(), run_id).committed()]


def test_a_clean_end_is_finished_and_leaves_no_staging():
    """The status is true, the tags say so, and nothing stays in the working directory but the store."""
    run = scored([0.1, 0.2])
    ended = mlflow.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["pt_eval.kind"] == "training"
    assert ended.data.tags["pt_eval.resumable"] == "false"
    assert ended.data.tags["pt_eval.latest_checkpoint"] == "epoch=0001-step=000000000"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["mlartifacts", "mlflow.db"]


def test_every_second_epoch_and_the_last_are_saved():
    """The textbook's `every 2 epochs`: 1, 3 …, and a clean end always commits the last epoch."""
    keep_all = mpe.ModelCheckpoint(every_n_epochs=2, save_top_k=-1, when_busy="wait")
    run = scored([0.1] * 5, callbacks=[keep_all])
    assert [name[6:10] for name in stored(run.run_id)] == ["0001", "0003", "0004"]


def test_the_textbooks_keys_load_without_this_library():
    """`torch.load(weights_only=True)` and the keys that everybody knows."""
    parts = Parts()
    run = wrapped(parts, 1)
    (path,) = Path("mlartifacts").rglob("state.pt")
    tree = torch.load(path, weights_only=True)
    assert set(tree) >= {"epoch", "step", "loss", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict"}
    assert (tree["epoch"], tree["step"]) == (0, 8)
    assert tree["loss"] == run.history[0].metrics["val_loss"]
    for key, value in parts.model.state_dict().items():
        assert torch.equal(tree["model_state_dict"][key], value)


def test_the_best_epochs_weights_are_registered_not_the_last():
    """Epoch 1 is the best; NaN is not; its weights become the version, tagged with where they came from."""
    register = mpe.RegisterBest("best", input_example=EXAMPLE[:, :2])
    run = scored([math.nan, 0.9, 0.3, 0.2, 0.9, 0.1], callbacks=[register])
    assert run.registered_version == 1
    version = mlflow.MlflowClient().get_model_version_by_alias("best", "challenger")
    assert (version.tags["pt_eval.epoch"], version.tags["pt_eval.value"]) == ("1", "0.9")
    assert version.tags["pt_eval.run_id"] == run.run_id
    loaded = mpe.load_model("models:/best@challenger", into=model())
    assert torch.equal(loaded.bias, torch.tensor([1.0, 1.0]))


def test_nothing_finite_registers_nothing(caplog):
    """One warning, `registered_version` is None, and the training is no failure."""
    run = scored([math.nan, math.inf], callbacks=[mpe.RegisterBest("never", input_example=EXAMPLE[:, :2])])
    assert run.registered_version is None
    assert "nothing is registered as 'never': val_accuracy was never finite" in caplog.text
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"


def test_a_monitored_key_that_never_comes_fails_with_what_was_logged():
    """A typo in a monitor is an error that names the key and its neighbours."""
    stopping = mpe.EarlyStopping(monitor="val_acc", mode="max", patience=3)
    with pytest.raises(
        MetricNotLogged, match="EarlyStopping monitors 'val_acc', but epochs 0 to 1 logged: val_accuracy"
    ):
        scored([0.1, 0.2], callbacks=[stopping])
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == "FAILED"


def test_early_stopping_commits_the_last_epoch_and_says_why():
    """It is an orderly end: saved, registered, and the reason stands in the tags."""
    run = scored([0.5, 0.4, 0.3, 0.2], callbacks=[mpe.EarlyStopping(monitor="val_accuracy", mode="max", patience=2)])
    assert len(run.history) == 3
    assert "has not improved for 2 epochs" in run.stop_reason
    assert stored(run.run_id)[-1].startswith("epoch=0002")
    assert mlflow.get_run(run.run_id).data.tags["pt_eval.stop_reason"] == run.stop_reason


def test_a_callback_of_ones_own_sees_each_epoch_and_may_stop():
    """Any of the three methods; what it logs belongs to the epoch."""
    seen = []

    class Own:
        def on_train_start(self, run):
            seen.append("start")

        def on_epoch_end(self, run, record):
            seen.append(dict(record.metrics))
            run.log(doubled=2 * record.metrics["val_accuracy"])
            if record.epoch == 1:
                run.stop("enough")

        def on_train_end(self, run):
            seen.append("end")

    run = scored([0.1, 0.2, 0.3], callbacks=[Own()])
    assert seen == ["start", {"val_accuracy": 0.1}, {"val_accuracy": 0.2}, "end"]
    assert [record.metrics["doubled"] for record in run.history] == [0.2, 0.4]
    assert run.stop_reason == "enough"


def test_an_exception_makes_the_run_failed_keeps_checkpoints_and_the_traceback():
    """The error is the user's own; the run can be resumed."""
    with pytest.raises(Crash):
        wrapped(Parts(), 3, crash_at=(2, 1), callbacks=[WAIT])
    (run,) = mlflow.search_runs(output_format="list")
    assert (run.info.status, run.data.tags["pt_eval.resumable"]) == ("FAILED", "true")
    assert "Crash" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/traceback.txt")
    assert [record.epoch for record in mpe.list_checkpoints(run.info.run_id)] == [0, 1]


def test_leaving_the_loop_by_break_is_said(caplog):
    """The half-done epoch is not committed, and the message names the way to stop."""
    net = model()
    with mpe.TrainingRun({"model": net}) as run:
        for epoch in run.epochs(5):
            if epoch == 1:
                break
            run.log(x=epoch)
    assert "End a training with run.stop(reason)" in caplog.text
    assert len(run.history) == 1


def test_retention_keeps_what_the_policies_want_and_two_to_fall_back_on():
    """Best, last, and the one before the last; everything else is deleted in the store."""
    best = mpe.ModelCheckpoint(monitor="val_accuracy", mode="max", when_busy="wait")
    run = scored([0.1, 0.9, 0.2, 0.3, 0.4], callbacks=[best])
    assert [name[6:10] for name in stored(run.run_id)] == ["0001", "0003", "0004"]


def test_saving_whenever_validation_loss_improves():
    """Keras' ModelCheckpoint(save_best_only=True): epochs 0, 2 and 3 improve, 5 is the end."""
    saves = mpe.ModelCheckpoint(monitor="val_loss", mode="min", save_last=False, when_busy="wait")
    run = scored([0.9, 1.0, 0.5, 0.1, 0.2, 0.3], callbacks=[saves], key="val_loss")
    assert [name[6:10] for name in stored(run.run_id)] == ["0003", "0005"]


def test_a_resume_after_the_best_does_not_forget_it():
    """A worse epoch in a new process must not overwrite the best one."""
    callbacks = [mpe.RegisterBest("kept", input_example=EXAMPLE[:, :2])]
    first = scored([0.9, 0.1], callbacks=callbacks)
    second = scored([0.9, 0.1, 0.5, 0.4], callbacks=callbacks, resume=first.run_id)
    assert second.run_id == first.run_id
    assert mlflow.MlflowClient().get_model_version_by_alias("kept", "challenger").tags["pt_eval.epoch"] == "0"
    assert second.registered_version == 1


def test_a_finished_run_with_nothing_left_does_nothing():
    """`n` already done yields nothing, and the run is finished again."""
    first = scored([0.1, 0.2])
    again = scored([0.1, 0.2], resume=first.run_id)
    assert (len(again.history), mlflow.get_run(first.run_id).info.status) == (2, "FINISHED")


def test_auto_resumes_the_newest_unfinished_run_of_the_name(caplog):
    """By name, in the experiment; a finished one is not taken up again."""
    scored([0.1], run_name="nightly")
    with pytest.raises(Crash):
        wrapped(Parts(), 3, crash_at=(1, None), run_name="nightly")
    unfinished = mlflow.search_runs(filter_string="status = 'FAILED'", output_format="list")[0].info.run_id
    run = wrapped(Parts(), 3, run_name="nightly", resume="auto")
    assert run.run_id == unfinished
    assert f"the run {unfinished} was ended by Crash; resume={unfinished} goes on from epoch=0000" in caplog.text
    assert f"the run {unfinished} goes on from epoch=0000" in caplog.text
    fresh = scored([0.1], run_name="nightly", resume="auto")
    assert fresh.run_id != unfinished
    assert "no unfinished run named 'nightly'" in caplog.text


@pytest.mark.parametrize("name", ["it's", 'the "best"', """it's "it\"""", "100% a\\b"])
def test_auto_finds_any_name(name):
    """MLflow's filters know no escapes, and no text that holds both kinds of quotes."""
    for crashing in (name, "another"):
        with pytest.raises(Crash):
            wrapped(Parts(), 2, crash_at=(1, None), run_name=crashing)
    unfinished = mlflow.search_runs(output_format="list", order_by=["attributes.start_time"])[0]
    assert unfinished.info.run_name == name
    assert scored([0.1], run_name=name, resume="auto", strict=False).run_id == unfinished.info.run_id


def test_auto_needs_a_name():
    """Otherwise any run could be meant."""
    with pytest.raises(BadInput, match="needs run_name"):
        scored([0.1], resume="auto")


def test_a_run_id_that_does_not_exist_is_named():
    """With the store in which it was looked for."""
    with pytest.raises(NotFound, match=r"there is no run 'nope' in sqlite"):
        scored([0.1], resume="nope")


def test_changed_params_are_a_drift_table_not_an_error(caplog):
    """MLflow refuses a changed param; a resume records it."""
    first = scored([0.1], params={"lr": 0.1, "model": {"width": 8}})
    scored([0.1, 0.2], params={"lr": 0.2, "model": {"width": 8}, "new": 1}, resume=first.run_id)
    run = mlflow.get_run(first.run_id)
    assert run.data.params == {"lr": "0.1", "model.width": "8", "new": "1"}
    assert json.loads(run.data.tags["pt_eval.param_drift"]) == {"lr": {"before": "0.1", "now": "0.2"}}
    assert "'lr' was 0.1 when the run began and is 0.2 now" in caplog.text


def test_each_attempt_is_noted():
    """Who worked on the run, when, and from which checkpoint."""
    first = scored([0.1])
    scored([0.1, 0.2], resume=first.run_id)
    attempts = json.loads(mlflow.get_run(first.run_id).data.tags["pt_eval.attempts"])
    assert [a["resumed_from"] for a in attempts] == [None, "epoch=0000-step=000000000"]


def damage(run_id, name, how):
    """Damage one file of a checkpoint."""
    (folder,) = Path("mlartifacts").rglob(f"{run_id}/artifacts/checkpoints/{name}")
    if how == "manifest":
        (folder / "manifest.json").unlink()
        return
    if how == "foreign manifest":
        (folder / "manifest.json").write_text('{"made": "elsewhere"}')
        return
    path = folder / "state.pt"
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[:1000])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing", "manifest", "foreign manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(how, caplog):
    """A resume walks back to the newest good checkpoint, and ends as if nothing had happened."""
    whole = Parts()
    wrapped(whole, 3)
    with pytest.raises(Crash):
        wrapped(Parts(), 3, crash_at=(2, 3), run_name="cut", callbacks=[WAIT])
    cut = mlflow.search_runs(filter_string="status = 'FAILED'", output_format="list")[0].info.run_id
    damage(cut, "epoch=0001-step=000000016", how)
    parts = Parts()
    wrapped(parts, 3, resume=cut)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value)
    if how != "manifest":  # without a manifest it does not exist
        assert "checkpoint passed over: epoch=0001-step=000000016" in caplog.text


def test_when_no_checkpoint_is_whole_each_is_listed():
    """Nothing is begun anew in silence; strict=False does."""
    first = scored([0.1, 0.2], run_name="bad", callbacks=[WAIT])
    for name in ("epoch=0000-step=000000000", "epoch=0001-step=000000000"):
        damage(first.run_id, name, "flipped")
    with pytest.raises(CheckpointDamaged, match="none of the 2 checkpoints.*epoch=0001.*epoch=0000.*strict=False"):
        scored([0.1, 0.2, 0.3], resume=first.run_id)
    assert len(scored([0.1, 0.2, 0.3], resume=first.run_id, strict=False).history) == 3


def test_state_that_does_not_fit_the_checkpoint_is_refused_by_name():
    """A part more or less than was saved is named before anything is changed."""
    first = scored([0.1])
    before = mlflow.get_run(first.run_id)
    with (
        pytest.raises(StateMismatch, match="counter"),
        mpe.TrainingRun({"model": model(), "counter": Counter()}, resume=first.run_id),
    ):
        pass
    after = mlflow.get_run(first.run_id)
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)
    assert after.data.tags["pt_eval.resumable"] == "false"


def test_a_run_that_cannot_be_taken_up_stays_as_it_ended():
    """By a signal or an error, with what says so: nothing has been trained."""
    run = mpe.TrainingRun({"model": model()})
    with pytest.raises(SystemExit), run:
        list(signal.raise_signal(signal.SIGTERM) for _ in run.epochs(3))
    before = mlflow.get_run(run.run_id)
    with (
        pytest.raises(StateMismatch),
        mpe.TrainingRun({"model": torch.nn.Linear(1, 1)}, resume=run.run_id),
    ):
        pass
    after = mlflow.get_run(run.run_id)
    assert after.info.status == before.info.status == "KILLED"
    for tag, value in (("pt_eval.interrupted", "SIGTERM"), ("pt_eval.resumable", "true")):
        assert after.data.tags[tag] == before.data.tags[tag] == value


def test_any_stateful_is_part_of_the_state():
    """An object with the two methods comes back."""
    counter = Counter()
    with mpe.TrainingRun({"model": model(), "counter": counter}) as run:
        for _ in run.epochs(2):
            counter.count += 5
    again = Counter()
    with mpe.TrainingRun({"model": model(), "counter": again}, resume=run.run_id):
        pass
    assert again.count == 10


def test_a_key_is_logged_by_one_way_only():
    """`log` and `log_step` of one name would mix two meanings of a step."""
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            run.log_step(a=1.0)
            with pytest.raises(BadInput, match="logged by run.log_step before"):
                run.log(a=1.0)
            with pytest.raises(BadInput, match="letters, digits"):
                run.log(**{"acc@5": 1.0})
            with pytest.raises(BadInput, match="a Tensor of shape"):
                run.log_step(b=torch.zeros(3))


def test_steps_epoch_means_and_merging():
    """Step 0 is the first batch; the epoch's mean goes out as <key>_epoch; the last `log` of a key wins."""
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(2):
            for batch in run.batches([1.0, 2.0, 6.0]):
                run.log_step(x=batch)
            run.log(y=1)
            run.log(y=2, z=3)
    client = mlflow.MlflowClient()
    points = {k: [(m.step, m.value) for m in client.get_metric_history(run.run_id, k)] for k in ("x", "x_epoch", "y")}
    assert points["x"] == [(i, v) for i, v in enumerate([1.0, 2.0, 6.0] * 2)]
    assert points["x_epoch"] == [(0, 3.0), (1, 3.0)]
    assert points["y"] == [(0, 2.0), (1, 2.0)]
    assert run.history[1].metrics == {"x": 3.0, "y": 2.0, "z": 3.0}


def test_a_run_of_the_callers_is_used_and_keeps_its_status():
    """Inside an active run no second one is opened, and ending it is the caller's business."""
    with mlflow.start_run() as outer:
        run = scored([0.1])
        assert run.run_id == outer.info.run_id
        assert mlflow.get_run(run.run_id).info.status == "RUNNING"
        second = scored([0.2])
        assert mlflow.get_run(second.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_environment_and_code_are_recorded():
    """What ran, with what."""
    run = scored([0.1])
    text = mlflow.artifacts.load_text(f"runs:/{run.run_id}/environment.txt")
    assert "torch==" in text
    assert "# python 3" in text


def test_a_secret_among_the_params_is_not_logged(caplog):
    """Neither by its name nor inside a URI."""
    secret = {"api_key": "abc", "password": 1234, "token": "abc", "hub.hf_token": "abc", "wandb_token": "abc"}
    plain = {"max_tokens": "5", "pad_token": "[PAD]", "use_cls_token": "True", "token_type": "bpe", "sep_token_id": "3"}
    given = {**secret, **plain, "use_cls_token": True, "cls_token": None, "db": "postgresql://me:pw@host/x"}
    run = scored([0.1], params=given)
    assert mlflow.get_run(run.run_id).data.params == {
        **dict.fromkeys(secret, "***"),
        **plain,
        "cls_token": "None",
        "db": "postgresql://me:***@host/x",
    }
    assert "abc" not in caplog.text
    assert caplog.text.count("looks like a secret") == len(secret)


def test_a_second_process_on_the_same_run_is_refused():
    """On one host a lock says who is at work."""
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            with pytest.raises(RunConflict, match="already works on this run"):
                scored([0.1], resume=run.run_id)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mpe.TrainingRun({"net": model()}), "must have the key 'model'"),
        (lambda: mpe.TrainingRun({"model": 3}), "without state_dict"),
        (lambda: mpe.TrainingRun({"model": model()}, callbacks=[object()]), "is not a callback"),
        (lambda: mpe.TrainingRun({"model": model()}, grace_seconds=-1), "grace_seconds=-1"),
        (lambda: mpe.TrainingRun({"model": model()}, params={"a@b": 1}), "'a@b' is not a param key"),
        (lambda: mpe.RegisterBest("a/b", input_example=EXAMPLE), "cannot name a registered model"),
        (lambda: mpe.RegisterBest("a", input_example=EXAMPLE, outputs="logit"), "outputs='logit'"),
        (lambda: mpe.RegisterBest("a", input_example=EXAMPLE, class_names="abc"), "is a str: give a list of names"),
        (lambda: mpe.RegisterBest("a", input_example=EXAMPLE, class_names=["a", "a"]), "one name, 'a'"),
        (lambda: mpe.RegisterBest("a", input_example=EXAMPLE, factory="net"), "'net' is not a factory"),
        (lambda: mpe.RegisterBest("a", input_example="x.npz"), "the example is a str"),
        (lambda: mpe.RegisterBest("a", input_example=EXAMPLE[:0]), r"has the shape \(0, "),
    ],
)
def test_a_mistake_is_told_before_a_run_exists(make, message):
    """The first batch is not the place for a typo to show."""
    with pytest.raises(BadInput, match=message):
        make()
    assert mlflow.search_runs(output_format="list") == []


def test_logging_is_quiet_on_a_clean_run(caplog):
    """Nothing to say, nothing said."""
    with caplog.at_level(logging.WARNING, logger="mlflow_pt_eval"):
        scored([0.1, 0.2], callbacks=[WAIT])
    assert caplog.records == []


def test_a_password_in_an_error_does_not_reach_the_traceback_artifact():
    """What an exception says about a database is stored without its password."""
    with pytest.raises(OSError, match="secret"), mpe.TrainingRun({"model": model()}):
        raise OSError("cannot open postgresql://me:secret@host/db")
    (run,) = mlflow.search_runs(output_format="list")
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/traceback.txt")
    assert "me:***@host" in text
    assert "secret" not in text


def test_what_was_trained_on_is_noted_with_its_full_digest():
    """A data set in memory by the digest that an evaluation of it has; another one is not read a second time."""
    from mlflow_pt_eval.data import digest, load_data

    x, y = torch.randn(30, 2), torch.arange(30) % 2
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            list(run.batches(loader))
    (noted,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert (noted.dataset.name, noted.dataset.digest) == ("TensorDataset", digest(load_data((x, y))))
    parts = Parts()
    (noted,) = mlflow.get_run(wrapped(parts, 1).run_id).inputs.dataset_inputs
    assert noted.dataset.digest.startswith("unread-")


def test_a_second_loader_of_an_epoch_keeps_its_private_generator():
    """Its order goes on after a resume as if nothing had been."""

    def train(epochs, **options):
        loaders = [
            DataLoader(torch.arange(6.0), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(seed))
            for seed in (1, 2)
        ]
        seen = []
        with mpe.TrainingRun({"model": model()}, **options) as run:
            for _ in run.epochs(epochs):
                seen.append([batch.tolist() for loader in loaders for batch in run.batches(loader)])
        return run.run_id, seen

    _, whole = train(3)
    run_id, start = train(1)
    assert start + train(3, resume=run_id)[1] == whole


def test_a_loop_that_forgets_run_epochs_is_told(caplog):
    """`for epoch in range(n)` inside the block is what remains of most loops: nothing would be saved."""
    parts = Parts()
    with mpe.TrainingRun({"model": parts.model}) as run:
        for _ in range(2):
            run.log_step(train_loss=1.0)
    assert "2 steps, but no epoch: nothing was saved" in caplog.text


def test_a_key_has_room_for_its_epochs_mean():
    """Else the store refuses the mean at the epoch's end, and all that is sent with it."""
    with mpe.TrainingRun({"model": Parts().model}) as run:
        for _ in run.epochs(1):
            with pytest.raises(BadInput, match="at most 250"):
                run.log_step(**{"k" * 246: 1.0})


def test_no_checkpoint_is_made_that_could_not_be_resumed(caplog):
    """In the middle of a zip of two loaders: a resume begins the epoch anew, from the one before."""
    parts = Parts()
    every = mpe.ModelCheckpoint(every_n_steps=1, when_busy="wait")

    def train(run):
        for epoch in run.epochs(2):
            for number, _ in enumerate(run.batches(zip(parts.train, parts.train, strict=True))):
                if (epoch, number) == (1, 3):
                    raise Crash

    run = mpe.TrainingRun({"model": parts.model}, callbacks=[every])
    with pytest.raises(Crash), run:
        train(run)
    assert "no checkpoint is made in the middle of this epoch, since a zip" in caplog.text
    assert [each.step for each in mpe.list_checkpoints(run.run_id)] == [len(parts.train)]


def test_loops_over_epochs_do_not_stand_inside_each_other():
    """One after the other they do, also when the first was left."""
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            with pytest.raises(BadInput, match=r"run\.epochs stands inside the loop over another run\.epochs"):
                next(run.epochs(2))
        for _ in run.epochs(3):
            break
        assert list(run.epochs(3)) == [1, 2]


def test_the_best_without_a_checkpoint_is_not_the_end_of_a_training(caplog):
    """RegisterBest joins on a resume: the best of what is stored is registered, as by `register_best`."""
    run = scored([0.9, 0.1, 0.2, 0.3], callbacks=[mpe.ModelCheckpoint(save_top_k=0, when_busy="wait")])
    assert [name[:10] for name in stored(run.run_id)] == ["epoch=0002", "epoch=0003"]
    wanted = [WAIT, mpe.RegisterBest("joined", input_example=EXAMPLE[:, :2])]
    again = scored([0.9, 0.1, 0.2, 0.3, 0.5, 0.4], callbacks=wanted, resume=run.run_id)
    assert again.registered_version == 1
    assert mlflow.MlflowClient().get_model_version("joined", "1").tags["pt_eval.epoch"] == "4"
    assert "that of epoch 0, which has no whole checkpoint; epoch 4 is registered" in caplog.text
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"


def test_a_signal_at_the_end_of_a_training_ends_the_process_when_all_is_stored(caplog):
    """What was trained is registered and finished; the code after the block is not to run."""

    class Signals:
        def on_train_end(self, run):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        scored([0.5], callbacks=[Signals(), mpe.RegisterBest("asked", input_example=EXAMPLE[:, :2])])
    assert caught.value.code == 128 + signal.SIGTERM
    assert "SIGTERM received: all is trained, what is left is stored, in 20 s at the latest" in caplog.text
    version = mlflow.MlflowClient().get_model_version("asked", "1")
    assert mlflow.get_run(version.tags["pt_eval.run_id"]).info.status == "FINISHED"


def test_what_mlflow_logs_beside_the_run_is_said_once(caplog):
    """`mlflow.log_metric` in the loop begins a run of its own, since ours is not MLflow's active one."""
    with mpe.TrainingRun({"model": model()}) as run:
        for epoch in run.epochs(3):
            mlflow.log_metric("lr", 0.1, step=epoch)
    stray = mlflow.active_run().info.run_id
    mlflow.end_run()
    assert caplog.text.count(f"the run {stray} is active beside the training's, {run.run_id}") == 1


def test_a_run_of_the_callers_is_no_stray(caplog):
    """One that was active before, and ours itself, made active."""
    with mlflow.start_run(), mpe.TrainingRun({"model": model()}) as outer:
        for _ in outer.epochs(1):
            mlflow.log_metric("mine", 1.0)
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            with mlflow.start_run(run_id=run.run_id):
                mlflow.log_metric("mine", 1.0)
    assert "is active beside" not in caplog.text


class CountingSampler(torch.utils.data.Sampler):
    """Shuffles by the number of epochs that it has begun."""

    def __init__(self):
        self.begun = 0

    def __len__(self):
        return 12

    def __iter__(self):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(self.begun))
        self.begun += 1
        yield from order.tolist()

    def state_dict(self):
        return {"begun": self.begun}

    def load_state_dict(self, state):
        self.begun = state["begun"]


def sampled(cut=None, resume=None):
    """Read two epochs by a sampler that is in the state; return the batches."""
    sampler, net, seen = CountingSampler(), model(), []
    loader = DataLoader(TensorDataset(torch.arange(12)), 2, sampler=sampler)
    callbacks = [mpe.ModelCheckpoint(every_n_steps=1, when_busy="wait")]
    with mpe.TrainingRun({"model": net, "sampler": sampler}, callbacks=callbacks, resume=resume) as run:
        for _ in run.epochs(2):
            for (batch,) in run.batches(loader):
                seen.append(batch.tolist())
                if len(seen) == cut:
                    raise Crash(run.run_id)
    return seen


def test_a_sampler_in_the_state_is_resumed_in_mid_epoch():
    """No sample twice, none left out."""
    whole = sampled()
    with pytest.raises(Crash) as crash:
        sampled(cut=4)
    assert sampled(resume=crash.value.args[0]) == whole[3:]


@pytest.mark.parametrize("callbacks", [[mpe.RegisterBest("none", input_example=torch.zeros(2, 2))], [WAIT]])
def test_a_block_without_an_epoch_ends_cleanly(callbacks, caplog):
    """Nothing to register, no monitor to miss; what was logged in a loop of one's own is said to be no epoch."""
    patience = mpe.EarlyStopping(monitor="val_loss", mode="min", patience=3)
    with mpe.TrainingRun({"model": model()}, callbacks=[*callbacks, patience]) as run:
        for epoch in range(3):
            run.log(a=epoch)
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"
    assert run.registered_version is None
    assert "0 steps, but no epoch: nothing was saved" in caplog.text
    if callbacks != [WAIT]:
        assert "nothing is registered as 'none': the training had no epoch" in caplog.text


def test_metrics_may_stand_in_a_mapping():
    """As `validate` returns them; what is none is refused in one line."""
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(1):
            run.log({"a": 1.0}, b=2.0)
            run.log_step({"c": 3.0})
            for refused in (1.0, [("a", 1.0)], {1: 1.0}):
                with pytest.raises(BadInput, match=r"run.log got .*; it takes metrics by name, run.log\(loss=0.5\)"):
                    run.log(refused)
    assert dict(run.history[0].metrics) == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_loader_that_is_used_up_is_named_once(caplog):
    """A generator gives its batches in the first epoch alone."""
    used_up = iter([torch.zeros(1)])
    with mpe.TrainingRun({"model": model()}) as run:
        for _ in run.epochs(3):
            for _ in run.batches(used_up):
                pass
    said = [record.getMessage() for record in caplog.records if "gave no batch" in record.getMessage()]
    assert [text.split(", and")[0] for text in said] == [
        "the list_iterator that run.batches got in epoch 1 is used up: it gave no batch"
    ]
