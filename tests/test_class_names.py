"""Class names: each class has one of its own, and whoever gives others hears of it before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (["ant", "bee"], ("ant", "bee")),
        (("ant", " bee "), ("ant", " bee ")),
        (np.array(["ant", "bee"]), ("ant", "bee")),
        (pd.Series(["ant", "bee"], index=[7, 3]), ("ant", "bee")),
        ({"ant": 0, "bee": 1}.keys(), ("ant", "bee")),
        ([1, 2], ("1", "2")),
        (np.array([1, 2]), ("1", "2")),
        (range(2), ("0", "1")),
    ],
)
def test_names_in_an_order_are_taken_as_texts(names: Any, texts: tuple[str, ...]) -> None:
    """Whatever holds them; whole numbers are shown as such."""
    found = check_class_names(names)
    assert found == texts
    assert {type(name) for name in found} == {str}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("abc", "is a str: give a list"),
        ({"a": 0}, "is a dict"),
        ({"a", "b"}, "is a set"),
        (3, "is a int"),
        ((name for name in "abc"), "is a generator"),
        ([], "is an empty list"),
        (np.array("a"), "is a ndarray"),
        (["a", "", "b"], "gives class 1 the name '', which is blank"),
        (["a", " ", "b"], "gives class 1 the name ' ', which is blank"),
        (["a", None, "c"], "gives class 1 a NoneType for a name"),
        (["a", 1.5], "gives class 1 a float for a name"),
        ([["a"], "b"], "gives class 0 a list for a name"),
        (["a", "b", "a"], "gives classes 0 and 2 one name, 'a'"),
        (["1", 1, "c"], "gives classes 0 and 1 one name, '1'"),
        (["a", "\udc80"], r"gives class 1 the name '.udc80', which cannot be written as UTF-8"),
    ],
)
def test_other_names_are_refused_in_one_line(names: Any, words: str) -> None:
    """With the option's name, the class and what was given."""
    with pytest.raises(BadInput, match=words) as caught:
        check_class_names(names)
    assert str(caught.value).startswith("class_names (--class-names)")
    assert "\n" not in str(caught.value)
