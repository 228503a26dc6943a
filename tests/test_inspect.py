"""What inspection keeps of a model, and what it says: on stacks whose heads are known, dense and streamed."""

import io
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from attnlab.errors import UsageError
from attnlab.experiments.inspect import InspectConfig, InspectRecord, ModelFacts, run, steps, worst
from attnlab.experiments.inspect_document import document
from attnlab.experiments.inspect_figures import MAPS, by_depth, contact_sheet, figures
from attnlab.experiments.inspect_findings import EVEN_SHARES, HeadFinding, even_share, percent
from attnlab.experiments.inspect_pictures import hidden_cells
from attnlab.experiments.inspect_report import report, shown_grid
from attnlab.experiments.inspect_words import TITLES, statistic_map, variance_in_words
from attnlab.experiments.run_document import SCALARS
from attnlab.experiments.run_record import Selection
from attnlab.files.config import load_config
from attnlab.files.kernels import Kernel
from attnlab.files.stacks import Bench, load_bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import Array
from attnlab.maths.streamed_block import stream_block
from attnlab.maths.visibility import band
from attnlab.maths.weights import BlockWeights
from attnlab.records import Check, Grid, Table
from attnlab.show.figure_data import figure_data
from attnlab.show.heatmap import heatmap
from attnlab.show.plots import draw
from attnlab.show.terminal import console

DENSE, STREAMED = Kernel("dense"), Kernel("streaming", "as asked")
KERNELS = pytest.mark.parametrize("kernel", [DENSE, STREAMED], ids=["dense", "streamed"])


def bench_of(block: Mapping[str, object], *, layers: int = 1, n: int = 7) -> Bench:
    config = load_config({"block": dict(block), "layers": layers, "input": {"random": {"n": n}}})
    return replace(load_bench(config, max_bytes=1 << 40, kernel="streaming"), random_input=False)


def config_of(bench: Bench, kernel: Kernel, **settings: object) -> InspectConfig:
    block = bench.config.block
    facts = ModelFacts(
        name="made",
        family="bert",
        layers=bench.config.layers,
        heads=block.n_heads,
        kv_heads=block.n_kv_heads,
        d_model=block.d_model,
        d_k=block.d_k,
        parameters=22_713_216,
    )
    return InspectConfig(model=facts, bench=bench, kernel=kernel, **settings)  # type: ignore[arg-type]


#: A width of its own for everything, so that no transposition passes.
PRIMES = {"d_model": 30, "n_heads": 5, "d_k": 3, "d_v": 7, "d_ff": 11}


def lookup_bench(heads: Mapping[int, Array], n: int = 24) -> Bench:
    """One layer whose head h scores query i and key j as heads[h][i, j]: tokens are one-hot, W_Q is the table."""
    spec = {"d_model": n, "n_heads": len(heads), "d_k": n, "d_v": 2, "d_ff": None, "bias": False, "scale": 1.0}
    bench = bench_of(spec, n=n)
    weights: BlockWeights = dict(bench.stack.weights[0])
    weights["attn.W_Q"] = np.stack([heads[h] for h in range(len(heads))]).astype(np.float32)
    weights["attn.W_K"] = np.stack([np.eye(n)] * len(heads)).astype(np.float32)
    x = np.eye(n, dtype=np.float32)
    tokens = ("[CLS]", *(f"w{i}" for i in range(1, n - 1)), "[SEP]")
    return replace(bench, stack=replace(bench.stack, weights=(weights,)), x=x, tokens=tokens)


def tables(n: int = 24) -> dict[int, Array]:
    """Heads of every kind: their scores."""
    nothing = np.zeros((n, n))
    first, last = nothing.copy(), nothing.copy()
    first[:, 0], last[:, -1] = 6.0, 4.0
    noise = np.random.default_rng(0).normal(size=(n, n))
    return {
        0: first,
        1: last,
        2: 12.0 * np.eye(n, k=-1),
        3: 4.0 * np.eye(n, k=1),
        4: nothing,
        5: noise,
        6: noise + 0.01 * noise.T,
        7: 200.0 * np.eye(n),
    }


def kinds(record: InspectRecord, head: int) -> set[str]:
    return {one.kind for one in record.findings if one.head == head}


def found(record: InspectRecord, kind: str, head: int) -> HeadFinding:
    return next(one for one in record.findings if (one.kind, one.head) == (kind, head))


class TestFindings:
    @KERNELS
    def test_heads_made_to_be_of_every_kind_are_found(self, kernel: Kernel) -> None:
        record = run(config_of(lookup_bench(tables()), kernel))
        assert kinds(record, 0) == {"sink"}
        assert kinds(record, 1) == {"sink"}
        assert kinds(record, 2) == {"saturated", "collapsed", "previous_token"}
        assert kinds(record, 3) == {"next_token"}
        assert kinds(record, 4) == {"near_uniform"}
        assert kinds(record, 5) == {"near_identical"}
        assert kinds(record, 6) == set()
        assert kinds(record, 7) == {"saturated", "collapsed", "large_score"}

    def test_a_sink_names_its_token_and_its_share(self) -> None:
        record = run(config_of(lookup_bench(tables()), DENSE))
        share = np.exp(6) / (np.exp(6) + 23)
        sink = found(record, "sink", 0)
        assert sink.value == pytest.approx(share, rel=1e-6)
        assert sink.text == 'head 0.0 puts 95 % of its weight on token 0 "[CLS]": a sink'
        elsewhere = found(record, "sink", 1)
        assert elsewhere.text == 'head 0.1 puts 70 % of its weight on token 23 "[SEP]": a sink'

    @KERNELS
    def test_sinks_are_told_a_line_a_token(self, kernel: Kernel) -> None:
        """8 heads on token 0, 5 on token 3, one on token 20, one that spreads: 3 lines, none hidden."""
        made = {head: np.zeros((24, 24)) for head in range(15)}
        for head in range(14):
            made[head][:, 0 if head < 8 else 3 if head < 13 else 20] = 3.0 + head / 5
        record = run(config_of(lookup_bench(made), kernel))
        (table,) = (part for part in report(record).parts if isinstance(part, Table) and "worth" in part.title)
        lines = [row for row in table.rows if row[1] == "sink"]
        assert lines == [
            ("8 heads", "sink", '47 to 78 % on token 0 "[CLS]": 0.7, 0.6, 0.5, …'),
            ("5 heads", "sink", '81 to 91 % on token 3 "w3": 0.12, 0.11, 0.10, …'),
            ("0.13", "sink", '92 % of its weight on token 20 "w20"'),
        ]
        keys = [one["key"] for one in document(record)["findings"] if one["kind"] == "sink"]  # type: ignore[attr-defined]
        assert sorted(keys) == [0] * 8 + [3] * 5 + [20]

    @KERNELS
    def test_a_later_key_goes_by_those_that_see_it(self, kernel: Kernel) -> None:
        """Causal, all weight on key 12 of 24 from its query on: half of the rows see it, and all of them look there."""
        made = {0: np.zeros((24, 24)), 1: np.zeros((24, 24)), 2: 9.0 * np.eye(24)}
        made[0][:, 12], made[1][:, 12] = 6.0, 2.0
        bench = lookup_bench(made)
        causal = tuple(replace(spec, causal=True) for spec in bench.stack.specs)
        bench = replace(bench, stack=replace(bench.stack, specs=causal), config=replace(bench.config, block=causal[0]))
        record = run(config_of(bench, kernel))
        one = found(record, "sink", 0)
        assert one.key == 12
        assert one.value > 0.9
        assert float(record.heads[0].statistics.received_max) < 0.6  # of all rows
        assert one.text.startswith("head 0.0 puts 9")
        assert not [one for one in record.findings if one.kind == "sink" and one.head == 2]  # each looks at itself

    def test_the_nearest_head_is_named(self) -> None:
        one = found(run(config_of(lookup_bench(tables()), STREAMED)), "near_identical", 5)
        assert (one.other, one.value < 0.05) == (6, True)
        assert one.text.startswith("head 0.5 and head 0.6 hardly differ: their rows differ by 0.")
        assert one.text.endswith(" of their weight (8 rows compared)")

    @KERNELS
    def test_what_is_just_short_of_a_threshold_is_not_found(self, kernel: Kernel) -> None:
        shares = {0: 0.29, 1: 0.31}
        made = {}
        for head, share in shares.items():
            made[head] = np.zeros((24, 24))
            made[head][:, 0] = np.log(23 * share / (1 - share))
        record = run(config_of(lookup_bench(made), kernel))
        assert [one.head for one in record.findings if one.kind == "sink"] == [1]

    def test_uniform_causal_heads_on_a_short_text_are_no_sinks(self) -> None:
        bench = bench_of({**PRIMES, "causal": True}, n=4)
        weights = {**bench.stack.weights[0], "attn.W_Q": np.zeros_like(bench.stack.weights[0]["attn.W_Q"])}
        record = run(config_of(replace(bench, stack=replace(bench.stack, weights=(weights,))), DENSE))
        masses = [float(head.statistics.sink_mass) for head in record.heads]
        assert masses == pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4] * 5, rel=1e-6)  # 0.52, beyond the threshold
        assert not any(one.kind == "sink" for one in record.findings)

    @pytest.mark.parametrize(
        ("causal", "window", "expected"),
        [
            (False, None, 1 / 3),
            (True, None, (1 + 1 / 2 + 1 / 3) / 3),
            (True, 1, 1 / 3),
            (True, 2, (1 + 1 / 2) / 3),
            (False, 1, (1 / 2 + 1 / 3) / 3),
        ],
    )
    def test_even_shares_by_hand(self, causal: bool, window: int | None, expected: float) -> None:
        spec = BlockSpec(d_model=2, n_heads=1, n_kv_heads=1, d_k=2, d_v=2, d_ff=None, causal=causal, window=window)
        assert even_share(spec, 3, 0) == pytest.approx(expected)
        assert even_share(spec, 3, 0) != pytest.approx(EVEN_SHARES * expected)

    def test_percentages_never_round_to_all(self) -> None:
        assert [percent(share) for share in (0.914, 0.9999, 1.0)] == ["91 %", "over 99 %", "100 %"]


class TestRun:
    def test_streamed_and_dense_say_the_same(self) -> None:
        bench = bench_of({**PRIMES, "norm_position": "pre", "n_kv_heads": 5}, layers=3, n=53)
        dense, streamed = (run(config_of(bench, kernel)) for kernel in (DENSE, STREAMED))
        for name in SCALARS:
            if name not in ("asymmetry", "received_argmax", "received_by_seers_argmax"):
                np.testing.assert_allclose(
                    statistic_map(streamed, name), statistic_map(dense, name), rtol=2e-5, atol=2e-6
                )
        for one, other in zip(dense.pictures, streamed.pictures, strict=True):
            assert one.shape == other.shape == (48, 48)
            np.testing.assert_allclose([one.sum(axis=1), other.sum(axis=1)], 1, atol=1e-6)
        assert [one.text for one in dense.findings] == [one.text for one in streamed.findings]

    def test_the_last_layer_works_out_the_sampled_tokens_alone(self) -> None:
        bench = bench_of(PRIMES, n=53)
        spec, weights = bench.stack.specs[0], bench.stack.weights[0]
        whole, last = (stream_block(spec, weights, bench.x, sampled=(0, 7, 52), last=last) for last in (False, True))
        np.testing.assert_array_equal(whole.statistics.entropy, last.statistics.entropy)
        assert (whole.output.shape, last.output.shape) == ((53, 30), (3, 30))
        for name, rows in whole.sampled.items():
            np.testing.assert_allclose(last.sampled[name], rows, atol=1e-6)

    def test_pictures_of_short_texts_are_the_matrices(self) -> None:
        bench = bench_of(PRIMES, n=7)
        dense, streamed = (run(config_of(bench, kernel)) for kernel in (DENSE, STREAMED))
        matrices = bench.stack.trace(bench.x).weights[0]
        np.testing.assert_allclose(np.stack(dense.pictures), matrices, atol=1e-7)
        np.testing.assert_allclose(np.stack(streamed.pictures), matrices, atol=1e-6)

    @KERNELS
    def test_only_what_is_asked_for_is_read_and_reported(self, kernel: Kernel) -> None:
        bench = bench_of(PRIMES, layers=4)
        unread: Any = None  # reading one would fail
        weights = (*bench.stack.weights[:2], unread, unread)
        bench = replace(bench, stack=replace(bench.stack, weights=weights))
        record = run(config_of(bench, kernel, selection=Selection(layers=(1,), heads=(4, 0))))
        assert [(head.layer, head.head) for head in record.heads] == [(1, 4), (1, 0)]
        with pytest.raises((TypeError, AttributeError)):
            run(config_of(bench, kernel, selection=Selection(layers=(2,))))

    @KERNELS
    @pytest.mark.parametrize("asymmetry", [False, True])
    def test_progress_is_counted(self, kernel: Kernel, asymmetry: bool) -> None:
        config = config_of(bench_of(PRIMES, layers=2), kernel, asymmetry=asymmetry, selection=Selection(layers=(1,)))
        calls: list[int] = []
        names: list[str] = []
        run(config, advance=lambda: calls.append(1), under_way=names.append)
        assert len(calls) == steps(config)
        assert names[0].startswith("layer 0 of 2")
        assert names[-1].startswith("layer 1 of 2")

    @KERNELS
    def test_the_shown_heads_matrix_is_whole_when_short(self, kernel: Kernel) -> None:
        bench = bench_of(PRIMES, layers=2)
        record = run(config_of(bench, kernel, selection=Selection(shown=(1, 3))))
        assert record.shown is not None
        assert record.shown.is_whole
        np.testing.assert_allclose(record.shown.weights, bench.stack.trace(bench.x).weights[1][3], atol=1e-6)

    def test_a_long_text_shows_some_queries_on_stretches_of_keys(self) -> None:
        bench = bench_of({"d_model": 6, "n_heads": 1, "d_ff": None}, n=1100)
        record = run(config_of(bench, STREAMED, selection=Selection(shown=(0, 0))))
        assert record.shown is not None
        assert record.shown.weights.shape == (512, 512)
        weights = bench.stack.trace(bench.x).weights[0][0].astype(np.float64)
        expected = np.add.reduceat(weights[record.shown.queries], record.shown.edges[:-1], axis=1)
        np.testing.assert_allclose(record.shown.weights, expected, atol=1e-6)
        grid = next(part for part in report(record).parts if isinstance(part, Grid) and not part.numbers)
        assert (
            grid.title == "Head 0.0: 512 of 1,100 queries, their weight on 512 stretches of 2 keys (each row sums to 1)"
        )

    def test_one_repeated_token_without_positions_is_uniform(self) -> None:
        bench = bench_of(PRIMES, n=17)
        record = run(config_of(replace(bench, x=np.repeat(bench.x[:1], 17, axis=0)), STREAMED))
        bound = 16 * np.finfo(np.float32).eps * (1 + max(abs(float(h.statistics.score_max)) for h in record.heads))
        np.testing.assert_allclose(statistic_map(record, "normalized_entropy"), 1, atol=float(bound))
        assert {one.kind for one in record.findings} == {"near_uniform", "near_identical"}

    def test_checks_of_all_layers_are_those_nearest_to_their_bounds(self) -> None:
        def check(value: float, *, holds: bool = True, bound: float = 1.0) -> Check:
            return Check(id="one", holds=holds, value=value, bound=bound, text="")

        near, far, broken = check(0.9), check(0.1), check(0.0, holds=False)
        assert worst([far, near]) == [near]
        assert worst([near, broken, far]) == [broken]
        least = check(1e-9, bound=0.0)
        assert worst([check(0.5, bound=0.0), least]) == [least]

    def test_a_wrong_sum_is_seen(self) -> None:
        record = run(config_of(bench_of(PRIMES, layers=2), STREAMED))
        assert all(check.holds for check in record.checks)
        assert {check.id for check in record.checks} == {
            "received_sums_to_1",
            "norm_bound",
            "sampled_rows_equal_formula",
            "steps_equal_equations",
        }

    @pytest.mark.parametrize(
        ("selection", "text"),
        [
            (Selection(layers=(2,)), "layer 2; expected 0 to 1"),
            (Selection(heads=(5,)), "head 5; expected 0 to 4"),
            (Selection(layers=(0,), shown=(1, 0)), "head 1.0: not reported"),
        ],
    )
    def test_what_the_model_lacks_is_refused(self, selection: Selection, text: str) -> None:
        with pytest.raises(UsageError, match=text):
            run(config_of(bench_of(PRIMES, layers=2), DENSE, selection=selection))


class TestFigures:
    def test_maps_hold_each_statistic_and_their_data(self) -> None:
        record = run(config_of(bench_of(PRIMES, layers=2), DENSE, statistic="self_mass"))
        figure = next(figure for figure in figures(record) if figure.name == "statistics")
        drawn = draw(figure)
        images = [axes.images[0] for axes in drawn.axes if axes.images]
        names = ["self_mass", *MAPS]
        assert len(images) == len(names)
        for image, name in zip(images, names, strict=True):
            np.testing.assert_array_equal(image.get_array(), statistic_map(record, name))
        data = figure_data(figure)
        assert data is not None
        assert list(data[1][6]) == ["Weight on the token itself", "1", "1", statistic_map(record, "self_mass")[1, 1]]

    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize("window", [None, 1, 3, 60])
    def test_a_cell_is_hidden_where_no_query_of_it_sees_a_key_of_it(self, causal: bool, window: int | None) -> None:
        spec = load_config({"block": {"d_model": 4, "n_heads": 1, "causal": causal, "window": window}}).block
        edges = np.array([0, 2, 3, 7, 11])
        for first, last in ((edges[:-1], edges[1:] - 1), (np.arange(11), np.arange(11))):
            found = hidden_cells(spec, first, last, edges)
            seen = band(11, 11, causal=causal, window=window)
            seen = np.ones((11, 11), bool) if seen is None else seen
            expected = [
                [not seen[a : b + 1, c:d].any() for c, d in pairwise(edges)] for a, b in zip(first, last, strict=True)
            ]
            assert (np.zeros((len(first), 4), bool) if found is None else found).tolist() == expected

    def test_what_a_causal_model_hides_is_hidden_in_its_figures(self) -> None:
        chosen = Selection(shown=(0, 2))
        record = run(config_of(bench_of({**PRIMES, "causal": True}, n=5), DENSE, selection=chosen))
        assert record.shown is not None
        upper = np.triu(np.ones((5, 5), bool), 1).tolist()
        for grid in (shown_grid(record, record.shown), contact_sheet(record).grids[0][3]):
            assert grid.hidden is not None
            assert grid.hidden.tolist() == upper
        free = run(config_of(bench_of(PRIMES, n=5), DENSE))
        assert contact_sheet(free).grids[0][0].hidden is None

    def test_many_heads_of_few_layers_are_folded(self) -> None:
        record = run(config_of(bench_of({"d_model": 6, "n_heads": 20, "d_k": 2}, layers=2), DENSE))
        sheet = contact_sheet(record)
        assert [len(line) for line in sheet.grids] == [16, 4, 16, 4]
        assert list(sheet.row_labels) == [f"layer {i}, head {j} …" for i in (0, 1) for j in (0, 16)]
        assert sheet.grids[3][1].title == "head 1.17"
        np.testing.assert_array_equal(sheet.grids[3][1].values, record.pictures[37])
        few = run(config_of(bench_of({"d_model": 6, "n_heads": 5, "d_k": 2}, layers=2), DENSE))
        assert [len(line) for line in contact_sheet(few).grids] == [5, 5]

    def test_depth_has_every_head_and_their_mean(self) -> None:
        record = run(config_of(bench_of(PRIMES, layers=3), DENSE))
        entropy, score = by_depth(record).panels
        for series, name in ((entropy, "normalized_entropy"), (score, "logit_max")):
            heads, mean = series.lines
            assert list(heads.y) == list(statistic_map(record, name).ravel())
            assert list(heads.x) == [0] * 5 + [1] * 5 + [2] * 5
            assert list(mean.y) == pytest.approx(statistic_map(record, name).mean(axis=1))


class TestTable:
    def test_a_pipe_has_every_number_however_many_heads(self) -> None:
        values = np.random.default_rng(0).uniform(0.1, 0.9, (48, 32))
        grid = Grid(title="", values=values, row_labels=[f"layer {i}" for i in range(48)], numbers=True)
        lines = heatmap(grid, console(stream=io.StringIO(), width=80))
        rows = [line.plain.split()[2:] for line in lines if line.plain.lstrip().startswith("layer ")]
        numbers = [[float(cell.rstrip("*")) for cell in row] for row in rows]
        np.testing.assert_allclose(numbers, values, atol=0.0051)
        picture = heatmap(replace(grid, numbers=False), console(stream=io.StringIO(), width=80))
        assert not any(line.plain.lstrip().startswith("layer ") for line in picture)


class TestReport:
    def test_every_statistic_has_a_title_and_a_map(self) -> None:
        assert set(TITLES) == set(SCALARS)
        record = run(config_of(bench_of({**PRIMES, "causal": True}, n=9), DENSE))
        for name in SCALARS:
            part = report(replace(record, statistic=name)).parts[0]
            assert isinstance(part, Grid) != (name in ("asymmetry", "next_mass"))

    def test_many_findings_are_a_dozen_lines(self) -> None:
        bench = lookup_bench(dict.fromkeys(range(40), tables()[0]))
        record = run(config_of(bench, DENSE))
        assert len(record.findings) > 60
        table = next(part for part in report(record).parts if isinstance(part, Table))
        assert len(table.rows) <= 12
        assert any(str(row[2]).startswith("and ") for row in table.rows)

    def test_score_variance_beside_isotropic_inputs_or_why_not(self) -> None:
        record = run(config_of(bench_of(PRIMES, layers=2, n=300), STREAMED))
        words = variance_in_words(record)
        assert "no head is known to be aligned with the text (0 of 10 seem so; by chance: 0.1)" in words
        assert words.endswith(")."), words
        assert " times what these tokens would give in random directions (median " in words
        assert document(record)["aligned_by_chance"] == pytest.approx(0.1)
        ratios = document(record)["score_variance_over_isotropic"]
        assert isinstance(ratios, dict)
        assert 0.7 < ratios["median"] < 1.4  # random tokens are isotropic, at least in layer 0
        causal = run(config_of(bench_of({**PRIMES, "causal": True}), DENSE))
        assert document(causal)["score_variance_over_isotropic"] is not None
        normed = run(config_of(bench_of({**PRIMES, "qk_norm": "rmsnorm"}), DENSE))
        assert variance_in_words(normed).endswith("no law is known under qk_norm.")
        assert document(normed)["score_variance_over_isotropic"] is None
        assert document(normed)["aligned_by_chance"] is None

    @pytest.mark.parametrize(
        ("ratios", "said"),
        [
            (
                [2.0, 0.5, 12.34, 3.0, 9.96],
                "2 of 5 heads are aligned with the text (by chance: 0.05). It is 0.5 to 12.3 times",
            ),
            (
                [1.1, 7.0, 2.0, 3.0, 1.5],
                "no head is known to be aligned with the text (1 of 5 seem so; by chance: 0.05). It is 1.1 to 7 times",
            ),
        ],
    )
    def test_score_variance_from_the_least_to_the_greatest(self, ratios: list[float], said: str) -> None:
        record = run(config_of(bench_of(PRIMES), DENSE))
        heads = []
        for head, ratio in zip(record.heads, ratios, strict=True):
            assert head.expectation.scores is not None
            measured = np.array(ratio * head.expectation.scores.variance)
            heads.append(replace(head, statistics=head.statistics._replace(score_variance=measured)))
        words = variance_in_words(replace(record, heads=heads))
        median = sorted(ratios)[2]
        given = f"what these tokens would give in random directions (median {median:.2g})."
        assert words == f"Score variance: {said} {given}"

    def test_the_document_has_every_statistic_but_received(self) -> None:
        fields = document(run(config_of(bench_of(PRIMES), DENSE)))
        assert fields["model"] == {
            "family": "bert",
            "layers": 1,
            "heads": 5,
            "kv_heads": 5,
            "d_model": 30,
            "d_k": 3,
            "parameters": 22_713_216,
            "unused_settings": [],
        }
        heads = fields["heads"]
        assert isinstance(heads, list)
        assert set(SCALARS) <= set(heads[0])
        assert "received" not in heads[0]
