"""How many threads matrix products get."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from attnlab.files.config import load_config
from attnlab.maths.threads import SMALL, threads_for, usable_cores


def blas_threads() -> set[int]:
    """What every linear algebra library of this process would use now."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_small_products_get_one_and_large_ones_all() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()  # none where the library's threads cannot be seen
        with threads_for(SMALL - 1):
            assert blas_threads() <= {1}
        assert blas_threads() == before
        with threads_for(SMALL):
            assert blas_threads() == before


def test_usable_cores() -> None:
    assert usable_cores() >= 1


def test_the_largest_product_of_a_block() -> None:
    block = load_config("vaswani-base").block
    assert block.largest_product(10) == 10 * 512 * 2048
    assert block.largest_product(4096) == 4096 * 4096 * 512
    assert np.isclose(block.largest_product(4096) / SMALL, 86, rtol=0.01)
