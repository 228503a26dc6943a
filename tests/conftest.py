"""What holds for every test."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from attnlab.maths.threads import single_threaded_products
from tests.commands import hear_signals

hear_signals()

# hypothesis's own limits are by the clock: a busy machine would not keep them.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Matrix products on one thread each: where other tests run beside, several take thirty times the work to wait for
    each other. Tests that are about threads ask for more.
    """
    with single_threaded_products():
        yield


@pytest.fixture(autouse=True, scope="module")
def _frozen() -> None:
    """What modules before this one have imported is no garbage: looking through it took most of the time where memory
    is weighed, which begins with a collection.
    """
    gc.collect()
    gc.freeze()
