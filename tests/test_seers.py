"""How many rows see a key, by places alone and by masks, against the matrix that says who sees whom."""

from typing import Any

import numpy as np
import pytest

from attnlab.maths import seers as module
from attnlab.maths.heads import heads_of
from attnlab.maths.rows import no_rows
from attnlab.maths.seers import seers
from attnlab.maths.visibility import band
from tests.streaming_cases import draw, inputs_of

SHAPES = [(1, 1), (7, 7), (5, 12), (12, 5), (40, 40)]
PLACES: list[dict[str, Any]] = [
    {},
    {"causal": True},
    {"window": 0},
    {"window": 3},
    {"window": 3, "causal": True},
    {"window": 100},
]


def counted(n: int, m: int, seen: Any, **settings: Any) -> tuple[Any, Any]:
    """What `seers` counts where about a third of the rows are not sound, and what the matrix says."""
    (head,) = heads_of(inputs_of(draw(1, 1, n, m), settings))
    sound = (np.random.default_rng(n).random(n) < 0.7) & seen.any(axis=1)
    rows = no_rows(n, m)._replace(visible=seen.sum(axis=1).astype(float), sound=sound)
    return seers(head, rows), seen[sound].sum(axis=0)


@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("places", PLACES)
def test_by_places(n: int, m: int, places: dict[str, Any]) -> None:
    seen = band(n, m, causal=places.get("causal", False), window=places.get("window"))
    found, expected = counted(n, m, np.ones((n, m), bool) if seen is None else seen, **places)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["mask", "bias"])
@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("places", PLACES)
def test_by_masks(n: int, m: int, places: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3 * m)
    mask = np.random.default_rng(1).random((n, m)) < 0.5
    hides = {"mask": mask} if kind == "mask" else {"bias": np.where(mask, 0.0, -np.inf)}
    own = band(n, m, causal=places.get("causal", False), window=places.get("window"))
    found, expected = counted(n, m, mask if own is None else mask & own, **places, **hides)
    np.testing.assert_array_equal(found, expected)


def test_a_bias_that_hides_nothing_is_not_looked_at() -> None:
    def bias(*_: Any) -> Any:
        raise AssertionError("asked for")

    (head,) = heads_of(inputs_of(draw(1, 1, 9, 9), {"causal": True})._replace(bias=bias))
    rows = no_rows(9, 9)._replace(visible=np.arange(1.0, 10), sound=np.ones(9, bool))
    np.testing.assert_array_equal(seers(head, rows), np.arange(9, 0, -1))
