"""benchmarks/few_of_each.py: which tests a slow tool is given."""

from __future__ import annotations

from benchmarks.few_of_each import few_of_each


def test_a_few_of_each_function_and_kind_from_first_to_last():
    numbers = range(1, 11)
    listed = [f"a.py::one[shape{shape}-{way}-8]" for shape in numbers for way in ("up", "down")]
    listed += ["a.py::one[None]", "a.py::two"]
    assert list(few_of_each(listed, 3)) == [
        "a.py::one[shape1-up-8]", "a.py::one[shape5-up-8]", "a.py::one[shape10-up-8]",
        "a.py::one[shape1-down-8]", "a.py::one[shape5-down-8]", "a.py::one[shape10-down-8]",
        "a.py::one[None]",
        "a.py::two",
    ]  # fmt: skip


def test_where_there_are_few_all_are_taken():
    listed = [f"a.py::one[{number}]" for number in range(4)]
    assert list(few_of_each(listed, 4)) == listed
    assert list(few_of_each(listed, 9)) == listed
    assert list(few_of_each(listed, 1)) == listed[:1]
