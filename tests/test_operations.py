"""Arrays that note their matrix products: each once, whatever is done to them on the way, and nothing else."""

import numpy as np
import pytest

from attnlab.measure.operations import CountedArray, Product, counted, multiply_adds, total


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [((2, 3), (3, 5), 30), ((7, 2, 3), (3, 5), 210), ((7, 2, 3), (7, 3, 5), 210), ((2, 3), (7, 3, 5), 210)],
)
def test_multiply_adds_of_stacks(left: tuple[int, ...], right: tuple[int, ...], expected: int) -> None:
    assert multiply_adds(left, right) == expected


def watched(shape: tuple[int, ...]) -> tuple[CountedArray, list[Product]]:
    ledger: list[Product] = []
    return counted(np.random.default_rng(0).standard_normal(shape), "w", ledger), ledger


def test_a_product_is_noted_and_right() -> None:
    w, ledger = watched((3, 5))
    x = np.arange(6.0).reshape(2, 3)
    y = x @ w
    np.testing.assert_array_equal(y, x @ np.asarray(w))
    assert ledger == [Product("w", 30)]
    assert type(y) is np.ndarray


def test_views_slices_and_conversions_are_noted_too() -> None:
    w, ledger = watched((4, 3, 5))
    x = np.ones((2, 3), np.float32)
    x @ w[0]
    w.swapaxes(-1, -2) @ np.ones((3, 2))
    x @ w.astype(np.float32, copy=False)
    x @ w.reshape(4, 3, 5)[1:3, :, :2]
    assert [product.multiply_adds for product in ledger] == [30, 4 * 30, 4 * 30, 2 * 12]


def test_what_is_computed_from_it_is_not() -> None:
    w, ledger = watched((3, 3))
    (w * 2) @ np.ones((3, 3))
    np.asarray(w) @ np.ones((3, 3))
    assert w.sum() == np.asarray(w).sum()
    assert ledger == []


def test_an_output_given_is_written() -> None:
    w, ledger = watched((3, 5))
    out = np.empty((2, 5))
    assert np.matmul(np.ones((2, 3)), w, out=out) is out
    np.testing.assert_array_equal(out, np.ones((2, 3)) @ np.asarray(w))
    w += 1
    assert isinstance(w, CountedArray)
    assert total(ledger) == 30


def test_the_right_one_of_two_notes_it_once() -> None:
    w, ledger = watched((3, 3))
    counted(np.ones((2, 3)), "x", ledger) @ w
    assert ledger == [Product("w", 18)]
    assert (total(ledger, "w"), total(ledger, "x"), total(ledger)) == (18, 0, 18)
