"""The registry as plain data: the same over SQLite and over HTTP."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from mlflow.store.artifact.utils.models import _parse_model_uri

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.tracking.version_info import parse_uri


@pytest.fixture(params=["sqlite", "http"])
def store(request, tracking):
    """A store of each kind, and not the ambient one, which must make no difference."""
    mlflow.set_tracking_uri("http://127.0.0.1:1")
    return connect(request.getfixturevalue("server") if request.param == "http" else tracking)


@pytest.fixture
def name():
    """A name of this test's own, with what makes names awkward: a blank and a quote."""
    return f"o'model {uuid.uuid4().hex[:8]}"


def logged_model(store):
    """Make a logged model without files: enough for the registry."""
    made = store.client.create_logged_model(store.experiment_id("registry tests"), name="m")
    return store.client.finalize_logged_model(made.model_id, "READY").model_id


def register(store, name, sha="s", **tags):
    """Register one more version."""
    return registry.create_version(
        store, name, model_id=logged_model(store), run_id=None, tags={"pt_eval.weights_sha256": sha, **tags}
    )


def test_a_version_is_plain_data_with_an_int_for_its_number(store, name):
    """MLflow gives int or str by the store, and leaves the logged model's id to be read out of the source."""
    model_id = logged_model(store)
    made = registry.create_version(store, name, model_id=model_id, run_id=None, tags={"pt_eval.weights_sha256": "abc"})
    registry.set_alias(store, name, "b-side", made)
    registry.set_alias(store, name, "A", made)
    info = registry.resolve(store, name, 1)
    assert (made, info.version, type(info.version)) == (1, 1, int)
    assert (info.model_id, info.weights_sha256, info.status) == (model_id, "abc", "READY")
    assert (info.aliases, info.uri) == (("A", "b-side"), f"models:/{name}/1")
    assert registry.versions(store, name) == [info]


def test_registering_in_a_store_leaves_mlflows_own_settings_alone(store, name):
    """The database asks the process-wide tracking URI for the logged model: that is put back."""
    before = mlflow.get_tracking_uri()
    register(store, name)
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize("said", [2, "2", "champion", "@champion", "latest"])
def test_a_version_is_found_by_number_alias_and_latest(store, name, said):
    """All the ways in which people name a version lead to it."""
    register(store, name)
    registry.set_alias(store, name, "champion", register(store, name))
    assert registry.resolve(store, name, said).version == 2
    if not str(said).startswith("@"):
        separator = "@" if said == "champion" else "/"
        assert registry.resolve_uri(store, f"models:/{name}{separator}{said}").version == 2


@pytest.mark.parametrize("said", [7, "challenger", "@nobody"])
def test_what_does_not_exist_is_answered_with_what_does(store, name, said):
    """The message lists versions and aliases, so that the next call is right."""
    register(store, name)
    registry.set_alias(store, name, "champion", register(store, name))
    with pytest.raises(NotFound, match=r"it has 1, 2 @champion\."):
        registry.resolve(store, name, said)


def test_a_model_that_does_not_exist_is_answered_with_those_that_do(store, name):
    """A typo in the name is the commonest mistake."""
    register(store, name)
    for call in (
        lambda: registry.versions(store, "nope"),
        lambda: registry.resolve(store, "nope", 1),
        lambda: registry.get_alias(store, "nope", "champion"),
        lambda: registry.set_alias(store, "nope", "champion", 1),
    ):
        with pytest.raises(NotFound, match="no registered model 'nope' in .*; registered are"):
            call()


def test_an_alias_is_read_and_set(store, name):
    """No alias is None; one on a version that is not there is refused by name."""
    register(store, name)
    assert registry.get_alias(store, name, "champion") is None
    registry.set_alias(store, name, "champion", 1)
    assert registry.get_alias(store, name, "champion") == 1
    with pytest.raises(NotFound, match="has no version 9; it has 1 @champion"):
        registry.set_alias(store, name, "champion", 9)


@pytest.mark.parametrize("said", [1.0, True, None, -1, "1.0", "v1", "", "1 ", [1], "\u0662"])
def test_what_names_no_version_is_refused_with_how_to_name_one(store, name, said):
    """A float is mostly a column of a table; `v1` is what the files were called."""
    register(store, name)
    with pytest.raises(BadInput, match=r"names no version: (give its number, such as 2|write 1, the number alone)"):
        registry.resolve(store, name, said)


def test_an_alias_of_digits_is_read_as_mlflow_reads_it(store, name):
    """MLflow lets people set one: behind '@' it is the alias, not the version of that number."""
    for _ in range(2):
        register(store, name)
    store.client.set_registered_model_alias(name, "2", "1")
    assert registry.resolve_uri(store, f"models:/{name}@2").version == 1
    assert registry.resolve_uri(store, f"models:/{name}/2").version == 2
    assert [registry.resolve(store, name, said).version for said in ("@2", "2", 2)] == [1, 2, 2]
    with pytest.raises(NotFound, match="has no alias '3'"):
        registry.resolve(store, name, "@3")


@pytest.mark.parametrize("bad", ["latest", "v3", "no blanks", "", "3", "007", None, 3])
def test_a_bad_alias_is_refused_before_the_store_is_asked(store, name, bad):
    """MLflow reserves 'latest' and 'v3'."""
    register(store, name)
    with pytest.raises(BadInput, match="cannot be an alias"):
        registry.set_alias(store, name, bad, 1)
    with pytest.raises(BadInput, match="cannot name a registered model"):
        registry.versions(store, "a/b")


def test_the_same_weights_are_found_again_unless_their_model_is_deleted(store, name):
    """A version whose logged model is deleted stays READY, but its bytes are on their way out."""
    first, second, _ = register(store, name, "same"), register(store, name, "same"), register(store, name, "other")

    def found(of: str = name) -> list[int]:
        return [info.version for info in registry.versions_with_weights(store, of, "same")]

    assert found() == [first, second]
    store.client.delete_logged_model(registry.resolve(store, name, first).model_id)
    assert found() == [second]
    store.client.delete_model_version(name, str(second))
    assert found() == []
    assert found("never registered") == []


def test_registrations_at_once_all_succeed_with_numbers_of_their_own(store, name):
    """The model is made by whoever comes first, and the store chooses the numbers."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: register(connect(store.tracking_uri), name, f"sha{i}"), range(4)))
    assert sorted(made) == [1, 2, 3, 4]


def test_every_version_is_listed_lowest_first_and_deleted_ones_are_not(store, name):
    """The order is that of numbers; a number is not used again."""
    for _ in range(3):
        register(store, name)
    store.client.delete_model_version(name, "2")
    register(store, name)
    assert [info.version for info in registry.versions(store, name)] == [1, 3, 4]


def test_tags_are_set_on_the_version(store, name):
    """What the registry page shows."""
    register(store, name)
    registry.tag_version(store, name, 1, {"pt_eval.test_accuracy": "0.5"})
    assert registry.resolve(store, name, 1).tags["pt_eval.test_accuracy"] == "0.5"


@pytest.mark.parametrize("uri", ["models:/m-123", "runs:/1/m", "models:/a", "models:/a/b/c", "digits", "models:/a@b@"])
def test_a_uri_that_names_no_registered_version_is_refused(uri):
    """A logged model's or a run's URI has no version to compare or promote."""
    with pytest.raises(BadInput, match="models:/NAME/VERSION"):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [("models:/a@b/1", ("a@b", "1")), ("models:/a@b@c", ("a@b", "c")), ("models:/a@b", ("a", "b"))],
)
def test_a_name_with_an_at_sign_is_read_as_mlflow_reads_it(uri, parts):
    """From the right: the name was allowed when it was registered."""
    read = _parse_model_uri(uri)
    assert parse_uri(uri) == parts == (read.name, read.version or read.alias)
