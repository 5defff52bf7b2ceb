"""Renaming, merging and allowing labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.inference import Score
from edge_agent.inference.labels import LabelMap

LABELS = ("tabby", "tiger cat", "Egyptian cat", "espresso", "tripod")


def test_without_a_policy_each_class_is_a_label() -> None:
    top = LabelMap.compile(LABELS).top(np.array([0.1, 0.5, 0.05, 0.3, 0.05]), 3)
    assert top == (Score("tiger cat", 1, 0.5), Score("espresso", 3, 0.3), Score("tabby", 0, 0.1))


def test_scores_of_merged_labels_are_added_before_the_best_are_chosen() -> None:
    cats = LabelMap.compile(LABELS, {"tabby": "cat", "tiger cat": "cat", "Egyptian cat": "cat"})
    top = cats.top(np.array([0.25, 0.125, 0.25, 0.375, 0.0]), 2)
    assert top[0] == Score("cat", 0, 0.625)
    assert top[1] == Score("espresso", 3, 0.375)


def test_a_merged_label_has_the_index_of_its_strongest_class() -> None:
    cats = LabelMap.compile(LABELS, {"tabby": "cat", "Egyptian cat": "cat"})
    assert cats.top(np.array([0.1, 0.0, 0.5, 0.4, 0.0]), 2)[0].index == 2


def test_a_label_can_be_merged_into_one_that_the_model_has() -> None:
    merged = LabelMap.compile(LABELS, {"tabby": "tiger cat"})
    assert merged.top(np.array([0.5, 0.25, 0.0, 0.25, 0.0]), 1) == (Score("tiger cat", 0, 0.75),)


def test_classes_of_one_name_are_one_label() -> None:
    cranes = LabelMap.compile(("crane", "espresso", "crane"))
    assert cranes.top(np.array([0.25, 0.375, 0.375]), 1) == (Score("crane", 2, 0.625),)


def test_only_allowed_labels_are_published_under_their_new_names() -> None:
    policy = LabelMap.compile(LABELS, {"tabby": "cat", "tiger cat": "cat"}, ("cat", "tripod"))
    top = policy.top(np.array([0.25, 0.125, 0.5, 0.0, 0.125]), 3)
    assert [score.label for score in top] == ["cat", "tripod"]
    assert top[0].score == 0.375


def test_in_place_of_a_denied_label_comes_the_next_best() -> None:
    labels = LabelMap.compile(["cat", "tabby", "dog"], {"tabby": "cat"}, deny=["cat"])
    assert [score.label for score in labels.top(np.array([0.5, 0.3, 0.2]), 3)] == ["dog"]
    with pytest.raises(ConfigError, match=r"labels.deny: the model has no label 'dgo'; did you mean"):
        LabelMap.compile(["cat", "dog"], deny=["dgo"])


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.sets(st.sampled_from(("cat", "espresso", "tripod", "Egyptian cat"))),
    st.integers(1, 5),
)
def test_denied_labels_are_as_if_cut_out_of_the_ranking(
    scores: list[float], denied: set[str], k: int
) -> None:
    renames, probabilities = {"tabby": "cat", "tiger cat": "cat"}, np.array(scores)
    everything = LabelMap.compile(LABELS, renames).top(probabilities, 5)
    found = LabelMap.compile(LABELS, renames, deny=denied).top(probabilities, k)
    assert found == tuple(score for score in everything if score.label not in denied)[:k]


def test_equal_scores_are_ordered_by_class() -> None:
    top = LabelMap.compile(LABELS).top(np.full(5, 0.2), 3)
    assert [score.index for score in top] == [0, 1, 2]


def test_unknown_names_are_refused_all_at_once_with_a_hint() -> None:
    with pytest.raises(ConfigError) as refused:
        LabelMap.compile(LABELS, {"taby": "cat", "zebra crossing": "road"}, ("Espresso", "tripod"))
    message = str(refused.value)
    assert "labels.map: the model has no label 'taby'; did you mean 'tabby'?" in message
    assert "labels.map: the model has no label 'zebra crossing'" in message
    assert "labels.allow: the model has no label 'Espresso'; did you mean 'espresso'?" in message
    assert "tripod" not in message


def test_the_allow_list_is_checked_after_renaming() -> None:
    with pytest.raises(ConfigError, match=r"labels\.allow: the model has no label 'tabby'"):
        LabelMap.compile(LABELS, {"tabby": "cat"}, ("tabby",))


names = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])


@given(
    labels=st.lists(names, min_size=1, max_size=30),
    mapping=st.dictionaries(names, names),
    data=st.data(),
    k=st.integers(1, 8),
)
def test_merging_keeps_the_sum_of_probabilities(
    labels: list[str], mapping: dict[str, str], data: st.DataObject, k: int
) -> None:
    known = {old: new for old, new in mapping.items() if old in labels}
    policy = LabelMap.compile(labels, known)
    weights = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(labels), max_size=len(labels))))
    probabilities = (weights + 1e-9) / (weights + 1e-9).sum()
    assert policy.merge(probabilities).sum() == pytest.approx(1)

    top = policy.top(probabilities, k)
    assert len(top) == min(k, len(set(policy.names)))
    assert [score.score for score in top] == sorted((score.score for score in top), reverse=True)
    for score in top:
        assert known.get(labels[score.index], labels[score.index]) == score.label
        members = [i for i, label in enumerate(labels) if known.get(label, label) == score.label]
        assert score.score == pytest.approx(probabilities[members].sum())
        assert probabilities[score.index] == probabilities[members].max()


@given(labels=st.lists(names, min_size=1, max_size=30), data=st.data())
def test_the_allow_list_leaves_out_everything_else(labels: list[str], data: st.DataObject) -> None:
    allow = data.draw(st.lists(st.sampled_from(labels), min_size=1, unique=True))
    top = LabelMap.compile(labels, allow=allow).top(np.full(len(labels), 1 / len(labels)), 100)
    assert {score.label for score in top} == set(allow)
