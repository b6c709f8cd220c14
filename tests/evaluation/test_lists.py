"""Lists of pairs and of boxes, and what is said of those that are wrong."""

import re
from pathlib import Path

import pytest

from evaluation.boxes import read_boxes
from evaluation.errors import ListError
from evaluation.pairs import Pair, read_pairs

LFW = "2\t1\nAbel_Pacheco\t1\t4\nAbdel\t1\tAbel_Pacheco\t1\nAbel_Pacheco\t2\t4\nAbdel\t2\tAbel_Pacheco\t10\n"
ABEL = "Abel_Pacheco/Abel_Pacheco_{:04d}.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in [*(ABEL.format(number) for number in (1, 2, 4, 10)), "Abdel/Abdel_0001.PNG", "Abdel/Abdel_0002.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("one.jpg", "two.jpg", "a, b.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def listed(folder: Path, text: str) -> Path:
    file = folder / "list"
    file.write_bytes(text.encode())
    return file


def test_pairs_of_lfw_with_the_sets_as_folds(folder: Path) -> None:
    assert read_pairs(listed(folder, LFW), folder) == [
        Pair(ABEL.format(1), ABEL.format(4), same=True, fold=0),
        Pair("Abdel/Abdel_0001.PNG", ABEL.format(1), same=False, fold=0),
        Pair(ABEL.format(2), ABEL.format(4), same=True, fold=1),
        Pair("Abdel/Abdel_0002.jpg", ABEL.format(10), same=False, fold=1),
    ]


def test_pairs_of_lfw_without_sets(folder: Path) -> None:
    pairs = read_pairs(listed(folder, LFW.replace("2\t1\n", "2\n", 1)), folder)
    assert [(pair.same, pair.fold) for pair in pairs] == [(True, None), (False, None)] * 2


def test_pairs_of_a_csv(folder: Path) -> None:
    text = (
        '\ufeffimage1, image2,same,who\r\none.jpg,two.jpg,1,me\r\n"a, b.jpg",one.jpg,0,you\r\ntwo.jpg,one.jpg,No,us\r\n'
    )
    assert read_pairs(listed(folder, text), folder) == [
        Pair("one.jpg", "two.jpg", same=True, fold=None),
        Pair("a, b.jpg", "one.jpg", same=False, fold=None),
        Pair("two.jpg", "one.jpg", same=False, fold=None),
    ]


def test_folds_of_a_csv_are_numbered_as_they_come(folder: Path) -> None:
    text = "image1,image2,same,fold\none.jpg,two.jpg,true,test\none.jpg,two.jpg,0,dev\none.jpg,two.jpg,1,test\n"
    assert [pair.fold for pair in read_pairs(listed(folder, text), folder)] == [0, 1, 0]


HEADER = "image1,image2,same\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: expected LFW's header"),
        ("people\n", "line 1: expected LFW's header"),
        ("0 300\n", "line 1: expected LFW's header"),
        ("1 2 3\n", "line 1: expected LFW's header"),
        ("10\t300\nA 1 2\n", "by its first line it has 6000 pairs, found 1"),
        ("1\nAbel_Pacheco 1 2\nAbel_Pacheco 1 Abdel\n", "line 3: expected `name i j` or `name i other j`"),
        ("1\nAbel_Pacheco 1 2\nAbel_Pacheco x Abdel 1\n", "line 3: expected `name i j`"),
        ("1" * 5001, "line 1: expected LFW's header"),
        (f"1\nAbel_Pacheco 1 {'1' * 5001}\nAbel_Pacheco 1 Abdel 1\n", "line 2: expected `name i j`"),
        (f"1\n{'A' * 300} 1 2\nAbel_Pacheco 1 Abdel 1\n", "list names 'A{100}': File name too long"),
        ('"image1,image2,same\none.jpg,two.jpg,1\n', "line 1: unexpected end of data"),
        ("image1,image2,same,same\none.jpg,two.jpg,1,0\n", "line 1: the header has same more than once"),
        ("image1,image2,same,fold, fold\none.jpg,two.jpg,1,0,1\n", "line 1: the header has fold more than once"),
        (f"{HEADER}one.jpg,two.jpg,1\none.jpg,{'A' * 300},0\n", "list names 'A{100}': File name too long"),
        ("a,b,c\n", "line 1: the header has no image1 and no image2 and no same. It is: image1,image2,same"),
        (f"{HEADER}one.jpg,two.jpg,maybe\n", "line 2: `same` must be 1 or 0, found 'maybe'"),
        (f"{HEADER}one.jpg,two.jpg,1\none.jpg\n", "line 3: `same` must be 1 or 0, found ''"),
        (f"{HEADER}one.jpg,,1\n", "line 2: two pictures are needed"),
        (f'{HEADER}"one.jpg,two.jpg,1\n', "unexpected end of data"),
        (f"{HEADER}one.jpg,two.jpg,1\n", "needs pairs of one person and pairs of two"),
        (HEADER, "needs pairs of one person and pairs of two"),
        ("image1,image2,same,fold\none.jpg,two.jpg,1,\n", "line 2: the fold is missing"),
        ("image1,image2,same,fold\none.jpg,two.jpg,1,a\none.jpg,two.jpg,0,a\n", "names a single fold"),
        (
            f"{HEADER}one.jpg,two.jpg,1\none.jpg,three.jpg,0\n",
            "1 of the 3 pictures that .* are not in .*, as three.jpg",
        ),
        ("1\nAbel_Pacheco 1 2\nAbel_Pacheco 1 Abdel 3\n", r"as Abdel/Abdel_0003.jpg\. Name the folder with --images"),
    ],
)
def test_pairs_that_are_wrong(folder: Path, text: str, told: str) -> None:
    with pytest.raises(ListError, match=told):
        read_pairs(listed(folder, text), folder)


def test_a_list_that_is_no_text(folder: Path) -> None:
    file = folder / "list"
    file.write_bytes(b"\xff\xd8\xff\xe0")
    for read in (read_pairs, read_boxes):
        with pytest.raises(ListError, match="it is not UTF-8 text"):
            read(file, folder)
        with pytest.raises(ListError, match="can't be read: No such file"):
            read(folder / "none", folder)


def test_boxes_of_wider_face(folder: Path) -> None:
    # As in its files: a face that is invalid, one without an area, a picture without a face and its line of zeros.
    text = (
        "one.jpg\n3\n449 330 122 149 0 0 0 0 0 0 \n10 20 5 6 2 0 0 1 2 0 \n7 8 0 9 0 0 0 0 0 0 \n"
        "two.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
        "a, b.jpg\n1\n1.5 2 3 4\n"
    )
    first, second, third = read_boxes(listed(folder, text), folder)
    assert [each.picture for each in (first, second, third)] == ["one.jpg", "two.jpg", "a, b.jpg"]
    assert first.boxes.tolist() == [[449, 330, 571, 479], [10, 20, 15, 26], [7, 8, 7, 17]]
    assert first.ignored.tolist() == [False, True, True]
    assert second.boxes.shape == (0, 4)
    assert third.boxes.tolist() == [[1.5, 2, 4.5, 6]]


def test_no_line_of_zeros_is_needed(folder: Path) -> None:
    first, second = read_boxes(listed(folder, "one.jpg\n0\ntwo.jpg\n1\n1 2 3 4\n\n"), folder)
    assert (len(first.boxes), len(second.boxes)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no face that is to be found"),
        ("one.jpg\n1\n0 0 5 5 0 0 0 1 0 0\n", "names no face that is to be found"),
        ("one.jpg\n", "line 2: expected the number of faces of one.jpg, found ''"),
        ("one.jpg\ntwo.jpg\n", "line 2: expected the number of faces of one.jpg, found 'two.jpg'"),
        ("one.jpg\n2\n1 2 3 4\n", "line 4: expected a face"),
        (f"one.jpg\n{'1' * 5001}\n", "line 2: expected the number of faces of one.jpg, found '1{100}'"),
        ("one.jpg\n1\n1 2 3 4\n./one.jpg\n1\n5 6 7 8\n", "line 4: ./one.jpg is in line 1 already"),
        (f"one.jpg\n1\n1 2 3 4\n{'A' * 300}\n0\n", "list names 'A{100}': File name too long"),
        ("one.jpg\n1\n1 2 3\n", "line 3: expected a face, 4 or 10 numbers"),
        ("one.jpg\n1\n1 2 3 x\n", "line 3: expected a face"),
        ("one.jpg\n1\n1 2 nan 3\n", "line 3: expected a face"),
        ("one.jpg\n1\n1 2 3 4\nnone.jpg\n0\n", "1 of the 2 pictures .* as none.jpg. Name the folder with --images"),
    ],
)
def test_boxes_that_are_wrong(folder: Path, text: str, told: str) -> None:
    with pytest.raises(ListError, match=told):
        read_boxes(listed(folder, text), folder)


def test_the_list_is_named(folder: Path) -> None:
    file = listed(folder, "people\n")
    with pytest.raises(ListError, match=re.escape(f"{file}, line 1")):
        read_pairs(file, folder)
