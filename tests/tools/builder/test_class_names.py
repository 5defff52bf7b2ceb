"""Label files: one label a line, each once, and ImageNet's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.tools.builder.class_names import imagenet_labels, read_labels


def test_imagenet_has_a_thousand_different_labels_in_the_usual_order() -> None:
    labels = imagenet_labels()
    assert len(set(labels)) == 1000
    assert (labels[0], labels[281], labels[999]) == ("tench", "tabby", "toilet tissue")


def test_imagenets_labels_are_those_of_every_torchvision_classifier() -> None:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    for name in models.list_models(module=models):
        assert tuple(models.get_model_weights(name).DEFAULT.meta["categories"]) == imagenet_labels(), name


def test_lines_are_labels_without_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat \r\n Große Dogge\r\n\r\n".encode())
    assert read_labels(tmp_path / "labels.txt") == ("cat", "Große Dogge")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"", "line 1 is empty"),
        (b"cat\ndog\ncat\n", "line 3 repeats the label of line 1, 'cat'"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_a_bad_label_file_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ModelError, match=rf"labels\.txt: {message}"):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.txt: cannot be read"):
        read_labels(tmp_path / "absent.txt")


FRUIT = ("apple", "banana", "cherry")


@pytest.mark.parametrize(
    "content",
    [
        "0,apple\n1,banana\n2,cherry\n",
        "2 cherry\n0 apple\n1 banana\n",
        "0: apple\n1: banana\n2: cherry\n",
        "0\tapple\r\n1\tbanana\r\n2\tcherry\r\n",
        "apple,0\nbanana,1\ncherry,2\n",
        "apple 0\nbanana 1\ncherry 2\n",
        "index,label\n2,cherry\n1,banana\n0,apple\n",
        '"class_name";"class_id"\n"apple";"0"\n"banana";"1"\n"cherry";"2"\n',
        "class,label\n0,apple\n1,banana\n2,cherry\n",
        "class,label\napple,0\nbanana,1\ncherry,2\n",
        "id,wnid,name\n0,n1,apple\n1,n2,banana\n2,n3,cherry\n",
        "\ufeff0;apple\n1;banana\n2;cherry",
        '"apple"\n"banana"\n"cherry"\n',
        "'apple',\n'banana',\n'cherry'\n",
        "- apple\n- banana\n- cherry\n",
        '["apple", "banana", "cherry"]',
        '{"cherry": 2, "apple": 0, "banana": 1}',
        '\ufeff{"0": "apple", "2": "cherry", "1": "banana"}\r\n',
        '{"0": ["n1", "apple"], "1": ["n2", "banana"], "2": ["n3", "cherry"]}',
        '{"class_to_idx": {"apple": 0, "banana": 1, "cherry": 2}, "epochs": 3}',
        '{"model_type": "vit", "id2label": {"0": "apple", "1": "banana", "2": "cherry"}}',
        '[{"name": "apple"}, {"name": "banana"}, {"name": "cherry"}]',
        "{'apple': 0, 'banana': 1, 'cherry': 2}",
        "['apple', 'banana', 'cherry']",
    ],
)
def test_the_forms_in_which_training_programs_write_labels_are_understood(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "labels.txt").write_text(content, newline="")
    assert read_labels(tmp_path / "labels.txt") == FRUIT


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("tench, Tinca tinca\ngoldfish\n", ("tench, Tinca tinca", "goldfish")),
        ("0 tench, Tinca tinca\n1 goldfish\n", ("tench, Tinca tinca", "goldfish")),
        ("0\n1\n2\n", ("0", "1", "2")),
        ('"7 up"\ncola\n', ("7 up", "cola")),
        ("Audi A4 2012\nBMW X5 2014\n", ("Audi A4 2012", "BMW X5 2014")),
        ("'70s car\n911 Turbo\n", ("'70s car", "911 Turbo")),
        ("cafe\u0301\nnu\u200cne\n", ("caf\u00e9", "nu\u200cne")),
    ],
)
def test_labels_that_only_look_like_a_table_stay_labels(
    tmp_path: Path, content: str, labels: tuple[str, ...]
) -> None:
    (tmp_path / "labels.txt").write_text(content)
    assert read_labels(tmp_path / "labels.txt") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\nd\x1b[31mog\n", r"line 2 has a control character in it: d\\x1b\[31mog"),
        ("cat\ndog\u202egnp\n", r"line 2 has a control character in it: dog\\u202egnp"),
        ("cat\rdog\r", r"line 1 has a control character in it: cat\\rdog"),
        ('["cat", "d\\u0007og"]', r"entry 1 has a control character in it: d\\x07og"),
        ('{"cat\\n": 0}\n{', "not valid JSON"),
        ("cat\n" + "d" * 201, "line 2 is longer than 200 characters"),
        ("1 cat\n2 dog\n", "class 0 has no line.*count from 0"),
        ("0,cat\n0,dog\n", "line 2 repeats the class number of line 1, 0"),
        ("0,cat\n1,cat\n", "line 2 repeats the label of line 1, 'cat'"),
        ("0,cat\ndog\n", "line 1 begins with a number, and not every line does"),
        ("cat,0\ndog\n", "line 1 ends with a number, and not every line does"),
        ("cat\n1 dog\n", "line 2 begins with a number.*put quotes around a label"),
        ("index,label\n0,cat\n1\n", "line 3 has 1 columns, the header has 2"),
        ("index,label\n0,cat\nx,dog\n", "line 3 has no class number but 'x'"),
        ("0,n1,cat\n1,n2,dog\n", "line 1 has more than two columns"),
        ("cat,\ndog,\n", "line 1 ends with ','"),
        ('"cat\ndog\n', "line 1 begins with a quote that nothing closes"),
        ('["cat", "dog"', "not valid JSON"),
        ('["cat", 3]', "entry 1 is no label but 3"),
        ('["cat", ""]', "entry 1 is empty"),
        ('{"cat": 0, "cat": 1}', "the key 'cat' is there twice"),
        ('{"cat": 1, "dog": 2}', "its class numbers are 1, 2, not 0 to 1, each once"),
        ('{"' + "9" * 5000 + '": "cat"}', "has no class number"),
        ("0," + "9" * 200_000 + "\n1,b,c\n", "line 1 is longer than 2000 characters"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "has no labels"),
        ("cafe\u0301\ncaf\u00e9\n", "line 2 repeats the label of line 1"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line_and_shown_without_controls(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "labels.txt").write_text(content, newline="")
    with pytest.raises(ModelError, match=rf"labels\.txt: .*{message}") as caught:
        read_labels(tmp_path / "labels.txt")
    assert str(caught.value).isprintable()


def test_utf_16_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("cat\ndog\n".encode("utf-16"))
    with pytest.raises(ModelError, match="not UTF-8 text but UTF-16"):
        read_labels(tmp_path / "labels.txt")
