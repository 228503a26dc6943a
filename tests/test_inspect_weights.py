"""A model's weights alone: each number against the (d, d) matrices that are never made, and what is said of them."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attnlab.errors import UsageError
from attnlab.experiments.inspect import ModelFacts
from attnlab.experiments.inspect_weights import LEADING, HeadWeights, WeightsRecord, run
from attnlab.experiments.inspect_weights_figures import figures
from attnlab.experiments.inspect_weights_findings import KINDS, WeightFinding, findings, median
from attnlab.experiments.inspect_weights_report import OUTSIDE, beyond_chance, csv_table, document, report
from attnlab.files.documents import csv_bytes, json_bytes
from attnlab.maths.architecture import BlockSpec, Initialisation, Rotary
from attnlab.maths.norms import norm
from attnlab.maths.stack import Stack
from attnlab.maths.weights import BlockWeights, initial_block
from attnlab.records import Finding, Grid, Panels, Table
from attnlab.theory.random_weights import random_effective_rank
from tests import rendered
from tests.rendered import whole

Array = np.ndarray[Any, np.dtype[Any]]

#: Every axis another prime, biases on, two query heads to a key head.
SPEC = BlockSpec(d_model=23, n_heads=6, n_kv_heads=3, d_k=5, d_v=7, d_ff=13)
PRE = replace(SPEC, norm_position="pre")
FACTS = ModelFacts(name="primes", family="", layers=2, heads=6, kv_heads=3, d_model=23, d_k=5, parameters=0)


def drawn(spec: BlockSpec, seed: int = 0) -> BlockWeights:
    """Weights with biases and gains that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    weights = initial_block(spec, Initialisation(seed=seed), layer=0, dtype=np.float64)
    return {name: w + 0.3 * rng.standard_normal(w.shape) for name, w in weights.items()}


def stack_of(spec: BlockSpec, *blocks: BlockWeights) -> Stack:
    return Stack(specs=[spec] * len(blocks), weights=blocks, dtype=np.dtype(np.float64))


def looked_at(spec: BlockSpec, weights: BlockWeights, **asked: Any) -> WeightsRecord:
    facts = replace(FACTS, layers=1, heads=spec.n_heads, kv_heads=spec.n_kv_heads, d_model=spec.d_model)
    return run(stack_of(spec, weights), facts, **asked)


def read_by(spec: BlockSpec, weights: BlockWeights, x: Array) -> Array:
    """What the projections read."""
    if not spec.norms_inputs:
        return x
    return norm(spec.norm, x, weights["ln1.w"], weights.get("ln1.b"), eps=0.0)


SPECS = {
    "post": SPEC,
    "pre": PRE,
    "pre, rmsnorm": replace(PRE, norm="rmsnorm", bias=False),
    "sandwich": replace(SPEC, norm_position="sandwich", norm="rmsnorm"),
    "output": replace(SPEC, norm_position="output"),
    "own scale": replace(SPEC, scale=0.9),
    "rotary": replace(SPEC, position=Rotary()),
    "side by side": replace(SPEC, d_model=42, output_projection=False),
    "wider than its model": replace(SPEC, d_model=3),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
class TestNumbers:
    def test_score_moments_of_tokens(self, spec: BlockSpec) -> None:
        """Mean and variance of the scores of normal tokens, through the norm itself: within 4 standard errors."""
        weights = drawn(spec)
        tokens = np.random.default_rng(1).standard_normal((2, 20_000, spec.d_model))
        x, y = (read_by(spec, weights, each) for each in tokens)
        for head in looked_at(spec, weights).heads:
            q, k, own = (
                each @ weights[f"attn.W_{name}"][at] + weights.get(f"attn.b_{name}", np.zeros((6, 5)))[at]
                for each, name, at in ((x, "Q", head.head), (y, "K", head.kv_head), (x, "K", head.kv_head))
            )
            s, diagonal = (spec.score_scale * np.vecdot(q, each) for each in (k, own))
            off = np.square(s - s.mean())
            assert abs(off.mean() - head.score_variance) <= 4 * off.std() / math.sqrt(len(s))
            assert abs(off.mean() - 1.5 * head.score_variance) > 4 * off.std() / math.sqrt(len(s))
            error = diagonal.std() / math.sqrt(len(s))
            assert abs(diagonal.mean() - head.score_mean_diagonal) <= 4 * error + 1e-12

    def test_shares_and_ranks_against_the_matrices(self, spec: BlockSpec) -> None:
        weights = drawn(spec)
        for head in looked_at(spec, weights).heads:
            m, ov = explicit(spec, weights, head)
            assert head.frobenius == pytest.approx(np.linalg.norm(m), rel=1e-10)
            assert head.trace == pytest.approx(np.trace(m), rel=1e-9, abs=1e-12)
            assert head.symmetric_share == pytest.approx(np.linalg.norm(m + m.T) / 2 / np.linalg.norm(m), rel=1e-9)
            assert head.skew_share == pytest.approx(np.linalg.norm(m - m.T) / 2 / np.linalg.norm(m), rel=1e-9)
            for found, matrix, width in (
                (head.qk_singular_values, m, spec.d_k),
                (head.ov_singular_values, ov, spec.d_v),
            ):
                exact = np.linalg.svdvals(matrix)[: min(LEADING, width, spec.d_model)]
                np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-12)
            squares = np.linalg.svdvals(m) ** 2
            assert head.qk_effective_rank == pytest.approx(squares.sum() ** 2 / np.square(squares).sum(), rel=1e-9)
            assert head.qk_leading_share == pytest.approx(squares[0] / squares.sum(), rel=1e-9)
            assert head.ov_frobenius == pytest.approx(np.linalg.norm(ov), rel=1e-10)
            eigenvalues = np.linalg.eigvals(ov)
            expected = eigenvalues.sum().real / np.abs(eigenvalues).sum()
            assert head.copying == pytest.approx(expected, rel=1e-5, abs=1e-6)


def explicit(spec: BlockSpec, weights: BlockWeights, head: HeadWeights) -> tuple[Array, Array]:
    """M and W_V W_O as (d, d) matrices of what the norm leaves, of unit variance: folded by a matrix, not by rows."""
    d = spec.d_model
    fold = np.eye(d)
    if spec.norms_inputs:
        fold = np.diag(weights["ln1.w"])
        if spec.norm == "layernorm":
            fold = math.sqrt(d / (d - 1)) * (np.eye(d) - 1 / d) @ fold
    w_q, w_k, w_v = (
        fold @ weights[f"attn.W_{name}"][at]
        for name, at in (("Q", head.head), ("K", head.kv_head), ("V", head.kv_head))
    )
    if spec.output_projection:
        w_o = weights["attn.W_O"][head.head]
    else:
        w_o = np.eye(d)[head.head * spec.d_v : (head.head + 1) * spec.d_v]
    return spec.score_scale * w_q @ w_k.T, w_v @ w_o


def test_folding_matters() -> None:
    """A norm's gain changes what the weights say, and so does the centring."""
    weights = drawn(PRE)
    folded, plain = looked_at(PRE, weights).heads[0], looked_at(SPEC, weights).heads[0]
    assert folded.frobenius != pytest.approx(plain.frobenius, rel=1e-3)
    centred = looked_at(replace(PRE, norm="rmsnorm"), weights).heads[0]
    assert folded.frobenius != pytest.approx(centred.frobenius, rel=1e-3)


def test_random_heads_have_random_shares() -> None:
    """Those of 200 heads, a LayerNorm's uneven gain in front: within 4 standard errors of what stands beside them."""
    spec = replace(PRE, n_heads=200, n_kv_heads=200, bias=False)
    weights = initial_block(spec, Initialisation(scheme="normal", standard_deviation=0.2), layer=0, dtype=np.float64)
    weights["ln1.w"] = np.linspace(0.3, 2, 23)
    heads = looked_at(spec, weights).heads
    shares = np.array([head.skew_share**2 for head in heads])
    error = float(shares.std()) / math.sqrt(len(shares))
    assert abs(shares.mean() - heads[0].random_skew_share ** 2) <= 4 * error
    assert abs(shares.mean() - 1.5 * heads[0].random_skew_share ** 2) > 4 * error
    rank = float(np.mean([head.qk_effective_rank for head in heads]))
    # The law is a ratio of two means: at such a width the mean of ratios is a little larger.
    assert rank == pytest.approx(heads[0].random_qk_effective_rank, rel=0.1)
    assert rank != pytest.approx(random_effective_rank(23, 23, 5), rel=0.1)


class TestQkNorm:
    def test_the_size_is_nobodys(self) -> None:
        spec = replace(SPEC, qk_norm="rmsnorm")
        head = looked_at(spec, drawn(spec)).heads[0]
        assert math.isnan(head.score_variance)
        assert math.isnan(head.frobenius)
        fields = document(looked_at(spec, drawn(spec)))["heads"][0]  # type: ignore[index]
        assert fields["score_variance"] is None
        assert "qk_norm" in fields["score_variance_reason"]

    @pytest.mark.parametrize("over", ["head", "all"])
    @pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
    def test_shares_are_those_of_directions(self, kind: Any, over: Any) -> None:
        """Scores times both lengths are xᵀ M y: what the norm makes of q and k, undone by their size alone."""
        spec = replace(SPEC, qk_norm=kind, qk_norm_over=over, bias=("norm",))
        weights = drawn(spec)
        for name in ("attn.q_norm.b", "attn.k_norm.b"):
            weights.pop(name, None)
        for head in looked_at(spec, weights).heads:
            m = normalised_form(spec, weights, head)
            assert head.skew_share == pytest.approx(np.linalg.norm(m - m.T) / 2 / np.linalg.norm(m), rel=1e-9)
            assert head.qk_leading_share == pytest.approx(np.linalg.norm(m, 2) ** 2 / np.linalg.norm(m) ** 2, rel=1e-9)


def normalised_form(spec: BlockSpec, weights: BlockWeights, head: HeadWeights) -> Array:
    """x_iᵀ M y_j of unit vectors, each q and k as the norm turns it but at its own length."""
    sides = []
    for name, at in (("q", head.head), ("k", head.kv_head)):
        every = weights[f"attn.W_{name.upper()}"]
        together = spec.qk_norm_over == "all"
        raw = np.concatenate(list(every), axis=1) if together else every[at]
        normed = norm(spec.qk_norm or "rmsnorm", raw, weights[f"attn.{name}_norm.w"], None, eps=0.0)
        centred = raw - raw.mean(axis=1, keepdims=True) * (spec.qk_norm == "layernorm")
        normed *= np.sqrt(np.square(centred).mean(axis=1, keepdims=True))
        sides.append(normed[:, at * spec.d_k : (at + 1) * spec.d_k] if together else normed)
    return sides[0] @ sides[1].T


class TestChoosing:
    def test_only_what_is_asked_for_is_read(self) -> None:
        read: list[int] = []

        class Lazy(Sequence[BlockWeights]):
            def __len__(self) -> int:
                return 4

            def __getitem__(self, index: Any) -> Any:
                read.append(index)
                return drawn(SPEC, index)

            def __iter__(self) -> Iterator[BlockWeights]:
                raise NotImplementedError("every layer would be read")

        ticks: list[None] = []
        stack = Stack(specs=[SPEC] * 4, weights=Lazy(), dtype=np.dtype(np.float64))
        record = run(stack, FACTS, layers=[1, 3], heads=[0, 5], advance=lambda: ticks.append(None))
        assert read == [1, 3]
        assert len(ticks) == 2
        assert [(head.layer, head.head, head.kv_head) for head in record.heads] == [
            (1, 0, 0),
            (1, 5, 2),
            (3, 0, 0),
            (3, 5, 2),
        ]

    @pytest.mark.parametrize(
        ("asked", "complaint"),
        [({"layers": [1]}, "layer 1; expected 0, the only one"), ({"heads": [6]}, "head 6; expected 0 to 5")],
    )
    def test_what_is_not_there(self, asked: dict[str, Any], complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            looked_at(SPEC, drawn(SPEC), **asked)


class TestBrokenWeights:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_not_finite_is_said(self, value: float) -> None:
        weights = drawn(SPEC)
        weights["attn.W_K"][1, 3, 2] = value
        record = looked_at(SPEC, weights)
        broken = [head.head for head in record.heads if head.reasons]
        assert broken == [2, 3]
        assert [(finding.head, finding.kind) for finding in findings(record)[:2]] == [
            (2, "nonfinite"),
            (3, "nonfinite"),
        ]
        assert "NaN or infinity" in shown(record)

    def test_nothing_but_zeros(self) -> None:
        weights = {name: np.zeros_like(w) for name, w in drawn(SPEC).items()}
        record = looked_at(SPEC, weights)
        head = document(record)["heads"][0]  # type: ignore[index]
        assert head["score_variance"] == 0
        assert head["skew_share"] is None
        assert head["skew_share_reason"] == "M is 0"
        assert head["copying"] is None
        assert head["copying_reason"] == "W_V W_O is 0"
        assert {finding.kind for finding in findings(record)} == {"flat"}
        shown(record)


def crafted() -> BlockWeights:
    """Six heads of 23 × 5, each with a reason to be looked at (and the keys they share)."""
    rng = np.random.default_rng(4)
    weights = drawn(replace(SPEC, n_kv_heads=6, bias=False), seed=4)
    q, k = weights["attn.W_Q"], weights["attn.W_K"]
    k[0] = q[0]
    q[1] = 30 * q[1]
    q[2, :, 1:] *= 1e-3
    weights["attn.W_O"][3] = weights["attn.W_V"][3].T
    weights["attn.W_O"][4] = -weights["attn.W_V"][4].T
    weights["attn.W_O"][5] *= 1e-3
    k[5] *= 1e-3
    # u vᵀ − v uᵀ and the like: the skew part alone
    basis = np.linalg.qr(rng.standard_normal((23, 4)))[0]
    q[4] = np.column_stack([basis, np.zeros(23)])
    k[4] = np.column_stack([basis[:, 1], -basis[:, 0], basis[:, 3], -basis[:, 2], np.zeros(23)])
    return weights


CRAFTED = replace(SPEC, n_kv_heads=6, bias=False)


class TestFindings:
    def found(self, kind: str, **asked: Any) -> list[WeightFinding]:
        return [one for one in findings(looked_at(CRAFTED, crafted(), **asked)) if one.kind == kind]

    @pytest.mark.parametrize(
        ("kind", "head", "words"),
        [
            ("symmetric", 0, r"head 0\.0 has 100% of ‖M‖² symmetric"),
            ("own_token", 0, r"scores a token with itself \d\.\d+ standard deviations above others"),
            ("frozen", 1, r"above 2 ln 512 = 12\.5: its softmax over 512 keys would freeze"),
            ("one_direction", 2, r"one direction: it has 100% of ‖M‖²"),
            ("copying", 3, r"writes back what it reads: .* is 1\.000"),
            ("inverting", 4, r"takes away what it reads: .* is -1\.000"),
            ("skew", 4, r"has 0% of ‖M‖² symmetric"),
            ("silent", 5, r"adds little .*: ‖W_V W_O‖ is 0\.1% of its layer's median"),
            ("flat", 5, "over 512 keys its rows would stay 99 %"),
        ],
    )
    def test_each_kind_is_found(self, kind: str, head: int, words: str) -> None:
        first = next(one for one in self.found(kind) if one.head == head)
        assert re.search(words, first.text), first.text

    def test_the_strongest_comes_first(self) -> None:
        values = [one.value for one in self.found("frozen")]
        assert values == sorted(values, reverse=True)

    def test_fewer_keys_freeze_sooner(self) -> None:
        assert len(self.found("frozen", positions=4)) > len(self.found("frozen", positions=10**9))
        assert "2 ln 4 =" in self.found("frozen", positions=4)[0].text

    def test_a_window_is_all_that_a_softmax_sees(self) -> None:
        spec = replace(CRAFTED, window=3, causal=True)
        record = looked_at(spec, crafted(), positions=512)
        assert any("2 ln 3 =" in one.text for one in findings(record))

    def test_random_weights_hold_nothing_of_note(self) -> None:
        spec = replace(SPEC, d_model=211, d_k=31, d_v=29, n_heads=6, bias=False)
        how = Initialisation(scheme="normal", standard_deviation=0.07)
        assert not findings(looked_at(spec, initial_block(spec, how, layer=0, dtype=np.float64)))

    def test_what_chance_gives_a_narrow_model_is_not_said(self) -> None:
        """Of width 2 a random M is often three quarters symmetric."""
        spec = replace(SPEC, d_model=2, n_heads=100, n_kv_heads=100, d_k=1, d_v=1, bias=False)
        record = looked_at(spec, initial_block(spec, Initialisation(), layer=0, dtype=np.float64))
        assert any(head.symmetric_share**2 > 0.75 for head in record.heads)
        assert not {"symmetric", "skew", "copying", "inverting"} & {one.kind for one in findings(record)}

    def test_a_narrow_head_has_one_direction_by_chance(self) -> None:
        record = large(4, 32)
        assert any(head.qk_leading_share > 0.5 for head in record.heads)
        assert "one_direction" not in {one.kind for one in findings(record)}

    def test_ids_are_all_different(self) -> None:
        assert len({kind.id for kind in KINDS}) == len(KINDS)

    def test_median(self) -> None:
        assert (median([3, 1, 2]), median([4, 1]), median([math.nan, 5])) == (2, 2.5, 5)
        assert math.isnan(median([math.nan]))


def shown(record: WeightsRecord, width: int = 80) -> str:
    return "\n".join(rendered.shown(report(record), width, details=True))


def large(layers: int, heads: int) -> WeightsRecord:
    spec = replace(SPEC, n_heads=heads, n_kv_heads=heads, bias=False)
    blocks = [drawn(spec, seed) for seed in range(layers)]
    return run(stack_of(spec, *blocks), replace(FACTS, layers=layers, heads=heads, kv_heads=heads))


class TestChance:
    """How many heads of random weights are said to be more symmetric, or to copy, than random weights."""

    def aways(self, name: str) -> list[float]:
        found: list[float] = []
        for seed in range(40):
            spec = BlockSpec(d_model=48, n_heads=24, n_kv_heads=24, d_k=12, d_v=12, d_ff=None, bias=False)
            weights = initial_block(spec, Initialisation(scheme="lecun_normal", seed=seed), layer=0, dtype=np.float32)
            for head in looked_at(spec, weights).heads:
                if name == "symmetric":
                    found.append((head.random_skew_share - head.skew_share) / head.random_share_deviation)
                else:
                    found.append(head.copying / head.random_copying_deviation)
        return found

    @pytest.mark.parametrize("name", ["symmetric", "copying"])
    def test_one_in_a_hundred_lies_outside(self, name: str) -> None:
        """960 heads: 9.6 ± 3.1."""
        outside = [abs(away) > OUTSIDE for away in self.aways(name)]
        assert 0.001 < np.mean(outside) < 0.025
        assert len(outside) == 960

    def test_is_said_beside_what_is_found(self) -> None:
        said = beyond_chance([(0.1, 0.1)] * 50 + [(0.3, 0.1)] * 10 + [(-0.4, 0.1)] * 12, "more symmetric", "less")
        assert said == "Outside 99 % of those, 10 of 72 heads are more symmetric and 12 less (by chance: 0.72)"

    def test_what_chance_would_make_is_no_finding(self) -> None:
        said = beyond_chance([(0.1, 0.1)] * 71 + [(0.3, 0.1)] + [(math.nan, 0.1)], "more symmetric", "less")
        assert said == "No head is known to differ from them (1 of 72 seem to; by chance: 0.72)"

    def test_random_models_are_not_said_to_be_more_symmetric(self) -> None:
        """Half of their heads are so, by a hair: 5 of 6 were counted once."""
        weights = initial_block(SPEC, Initialisation(seed=3), layer=0, dtype=np.float64)
        words = " ".join(part.text for part in whole(report(looked_at(SPEC, weights))) if isinstance(part, Finding))
        assert words.count("No head is known to differ from them") == 2


class TestReport:
    def test_a_map_of_12_by_12_fits_80_columns(self) -> None:
        text = shown(large(12, 12))
        assert max(map(len, text.splitlines())) <= 80
        assert "Medians by layer" in text

    def test_32_by_32_has_a_row_per_layer(self) -> None:
        record = large(32, 32)
        text, tables = shown(record), [part for part in whole(report(record)) if isinstance(part, Table)]
        assert max(map(len, text.splitlines())) <= 80
        assert len(tables[0].rows) == 32
        assert not [part for part in whole(report(record)) if isinstance(part, Grid)]
        assert "…" not in text

    def test_heads_worth_a_look_fit_80_columns(self) -> None:
        stack = stack_of(CRAFTED, *[crafted()] * 12)
        record = run(stack, replace(FACTS, layers=12), positions=131072)
        text = shown(record)
        assert max(map(len, text.splitlines())) <= 80
        assert "freezes (2 ln 131,072)" in text
        assert re.search(r"copies: .* 12 +0\.3: 1(\.00)?, 1\.3: 1(\.00)?[,\s]", text)  # 1 but for rounding

    def test_what_rounding_alone_tells_apart_is_in_the_order_of_the_layers(self) -> None:
        stack = stack_of(CRAFTED, *[crafted()] * 3)
        record = run(stack, replace(FACTS, layers=3))
        heads = [replace(head, copying=head.copying * (1 + head.layer * 1e-15)) for head in record.heads]
        found = [one for one in findings(replace(record, heads=heads)) if one.kind == "copying"]
        assert [one.layer for one in found] == [0, 1, 2]

    def test_a_layer_s_least_median_and_most(self) -> None:
        record = large(1, 15)
        row = next(part for part in whole(report(record)) if isinstance(part, Table)).rows[0]
        values = sorted(head.score_variance for head in record.heads)
        assert row[1:4] == pytest.approx((values[0], values[7], values[-1]))

    def test_findings_come_before_tables(self) -> None:
        parts = report(large(2, 6)).parts
        assert [isinstance(part, Finding) for part in parts[:4]] == [True] * 3 + [False]

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            (PRE, "as the LayerNorm before the attention leaves them, its gain, bias and centring counted in"),
            (replace(SPEC, position=Rotary()), "at distance 0"),
            (replace(SPEC, position="alibi"), "ALiBi"),
            (replace(SPEC, softcap=30.0), "before the cap"),
            (replace(SPEC, qk_norm="rmsnorm"), "qk_norm divides the lengths"),
            (SPEC, "what b_K adds is the same along a row"),
        ],
    )
    def test_what_the_numbers_leave_out_is_said(self, spec: BlockSpec, words: str) -> None:
        assert words in " ".join(shown(looked_at(spec, drawn(spec))).split())


class TestFiles:
    def test_the_document_is_json_and_holds_every_head(self) -> None:
        record = looked_at(PRE, drawn(PRE))
        read = json.loads(json_bytes(document(record)))
        assert len(read["heads"]) == 6
        assert read["heads"][2]["score_variance"] == record.heads[2].score_variance
        assert len(read["heads"][0]["qk_singular_values"]) == 5
        assert read["model"]["layers"] == 1
        told = json.loads(json_bytes(document(looked_at(CRAFTED, crafted()))))["findings"]
        assert list(told[0]) == ["layer", "head", "kind", "value", "text"]

    def test_csv(self) -> None:
        record = looked_at(SPEC, drawn(SPEC))
        lines = csv_bytes(*csv_table(record)).decode().splitlines()
        assert len(lines) == 7
        columns = lines[0].split(",")
        assert columns[:4] == ["layer", "head", "kv_head", "frobenius"]
        norm_of = float(lines[1].split(",")[columns.index("ov_norm")])
        assert norm_of == pytest.approx(record.heads[0].ov_singular_values[0])

    def test_figures(self) -> None:
        record = large(3, 6)
        drawn_figures = {figure.name: figure.drawable for figure in figures(record)}
        assert list(drawn_figures) == ["score_variance", "skew_share", "weights_by_layer"]
        grid, panels = drawn_figures["score_variance"], drawn_figures["weights_by_layer"]
        assert isinstance(grid, Grid)
        assert isinstance(panels, Panels)
        assert grid.values[2, 4] == record.heads[16].score_variance
        lines = panels.panels[1].lines
        assert lines[0].y[16] == record.heads[16].skew_share
        assert (lines[1].kind, lines[1].y[0]) == ("theory", record.heads[0].random_skew_share)

    def test_what_is_not_defined_is_not_drawn(self) -> None:
        spec = replace(SPEC, qk_norm="rmsnorm")
        record = run(stack_of(spec, drawn(spec), drawn(spec, 1)), FACTS)
        names = [figure.name for figure in figures(record)]
        assert names == ["skew_share", "weights_by_layer"]
