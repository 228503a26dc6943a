"""The drawings: nothing on them overlaps or is cut off, in any case; what stands on them is the run's own."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawn
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.transforms import Bbox

from attnlab.experiments.diagram import KINDS, Kind
from attnlab.records import Diagram, Figure
from attnlab.show import palette
from attnlab.show.diagrams_canvas import PANEL, TEXT, WIDTH, Canvas, measured, wrapped
from attnlab.show.diagrams_matrix import ROUNDED, cell_texts, darker, lengths, mixed, shades
from attnlab.show.plots import draw, figure_bytes
from tests.diagram_cases import ODD, PRESETS, diagram, strained
from tests.drawn_sheets import faults, sheet

#: Points of a text when the drawing is 8 cm wide, and those 8 cm in points.
READABLE, NARROW = 6.0, 8 / 2.54 * 72


#: Drawn with the texts that they have, too: the others with longer ones alone, which are the harder case.
PLAIN = ("sentence", "vaswani-base", next(iter(ODD)))


def drawn(record: Diagram) -> Drawn:
    return draw(Figure(name=record.kind, drawable=record))


@pytest.mark.parametrize("case", [*PRESETS, *ODD])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_stand_clear_and_are_readable_at_8_cm(kind: Kind, case: str) -> None:
    record = diagram(kind, case)
    for shown in [*([record] if case in PLAIN else []), strained(record)]:
        found = sheet(drawn(shown))
        assert faults(found) == []
        assert min(found.sizes.values()) * NARROW / found.width >= READABLE - 1e-3


def on_a_canvas(spoil: Callable[[Canvas], object]) -> list[str]:
    canvas = Canvas()
    canvas.box(20, 20, 60, 40, name="box")
    canvas.write(50, 40, "in the box"[:8])
    canvas.line([(100, 40), (150, 40)])
    spoil(canvas)
    canvas.reach(100)
    return faults(sheet(canvas.figure))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda canvas: canvas.write(52, 44, "more"), "'in the b' on 'more'"),
        (lambda canvas: canvas.write(WIDTH - 2, 80, "out"), "'out' leaves the sheet"),
        (lambda canvas: canvas.write(125, 40, "struck"), "a line through 'struck'"),
        (lambda canvas: canvas.write(80, 25, "edge"), "'edge' across the edge of box"),
    ],
)
def test_what_is_amiss_is_seen(spoil: Callable[[Canvas], object], fault: str) -> None:
    assert on_a_canvas(lambda canvas: None) == []
    assert fault in on_a_canvas(spoil)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", ["png", "svg"])
def test_the_same_record_gives_the_same_bytes(kind: Kind, format: str) -> None:
    figures = [Figure(name=kind, drawable=diagram(kind, "sentence")) for _ in range(2)]
    first, second = (figure_bytes(figure, "png" if format == "png" else "svg") for figure in figures)
    assert first == second
    assert first[:4] in (b"\x89PNG", b"<?xm")


def test_formulas_are_text_in_an_svg_in_a_font_that_everyone_has() -> None:
    text = figure_bytes(Figure(name="roles", drawable=diagram("roles", "sentence")), "svg").decode()
    letters = re.findall(r'<tspan [^>]*style="([^"]*)">([^<]*)</tspan>', text)
    assert {"Σ", "α", "√", "∑", "W", "q"} <= {letter for _, letter in letters}
    assert all(len(letter) == 1 and ord(letter) < 0xE000 for _, letter in letters)
    assert all("serif" in style for style, _ in letters)


# --- roles


def test_roles_follow_the_loudest_pair_and_account_for_all_weight() -> None:
    record = diagram("roles", "sentence")
    words = sheet(drawn(record)).words
    assert (record.query, record.key, list(record.keys)) == (2, 5, [2, 0, 1, 5])
    assert words[0] == '"bank" asks every key; "river" answers loudest (0.69)'
    assert {"[CLS]", "the", "bank", "river", "9 more", "i = 2"} <= {*words}
    assert {"$q_{i}$", "$k_{i}$", "$v_{i}$", "$k_{5}$", "$v_{5}$", "$a_{i}$"} <= {*words}
    weights = record.arrays.weights[2]
    assert "5.05" in words
    drawn_weights = [".01", ".09", ".04", ".69", ".16"]
    assert [word for word in words if word in drawn_weights] == drawn_weights
    assert weights[[0, 1, 2, 5]].sum() + 0.16 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("case", ["sentence", "tiny", "tiny causal", "one token"])
def test_one_x_becomes_a_query_a_key_and_a_value_through_three_matrices(case: str) -> None:
    record = diagram("roles", case)
    found = sheet(drawn(record))
    assert found.words.count("$x_{i}$") == 1
    assert f"$x_{{{record.query}}}$" not in found.words
    own = found.box(f"token {record.query}")
    rows = [line for line, _ in found.lines if abs(line[0][0] - own.x1) < 1 and own.y0 < line[0][1] < own.y1]
    assert len(rows) == 3
    for letter, name in zip("QKV", "qkv", strict=True):
        matrices = [placed.box for placed in found.boxes if placed.name == f"W_{letter}"]
        matrix = next(box for box in matrices if own.y0 < (box.y0 + box.y1) / 2 < own.y1)
        vector = found.box(f"{name}_{{i}}")
        assert own.x1 < matrix.x0 < matrix.x1 < vector.x0
        assert (matrix.y0 + matrix.y1) / 2 == pytest.approx((vector.y0 + vector.y1) / 2, abs=0.5)
        assert any(line[0][1] == pytest.approx((matrix.y0 + matrix.y1) / 2, abs=0.5) for line in rows)


def test_every_part_and_operation_of_roles_is_named() -> None:
    words = {*sheet(drawn(diagram("roles", "sentence"))).words}
    assert {"query", "key", "value", "scores", "softmax", "weights", "output"} <= words
    assert {r"$q_i\cdot k_j\,/\sqrt{32}$", r"$\alpha_{ij}$", r"$\Sigma$", "$W_Q$", "$W_K$", "$W_V$"} <= words
    assert any("a_i=" in word for word in words)


def test_a_weight_s_bar_is_as_long_as_its_share() -> None:
    record = diagram("roles", "sentence")
    found = sheet(drawn(record))
    frame = found.box("weight 5")
    bars = grey_bars(drawn(record))
    shares = sorted(float(record.arrays.weights[2, j]) for j in record.keys)
    assert sorted(bar / frame.width for bar in bars)[-1] == pytest.approx(shares[-1], abs=0.01)
    assert len([j for j in record.keys if record.arrays.weights[2, j] > 0.011]) + 1 <= len(bars) <= len(record.keys) + 1


def grey_bars(figure: Drawn) -> list[float]:
    grey = [patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()) == "#c4c4c4"]
    return [patch.get_width() for patch in grey if isinstance(patch, FancyBboxPatch)]


def test_a_hidden_key_says_so_and_a_cap_is_named() -> None:
    record = replace(diagram("roles", "tiny causal"), query=1, keys=(1, 0, 2, 3))
    figure = drawn(record)
    assert sheet(figure).words.count("hidden") == 2
    assert sorted(hatched(figure)) == ["hidden weight 2", "hidden weight 3"]
    assert "then cap ±50" in sheet(drawn(diagram("roles", "sandwich"))).words


def test_keys_that_the_query_cannot_see_are_not_counted_among_the_others() -> None:
    llama, gpt2 = (sheet(drawn(diagram("roles", case))).words for case in ("llama-like", "gpt2-small"))
    assert {"2 more", "the same for each"} <= {*llama}  # token 5 sees 6 of 12 keys, and 4 are drawn
    assert {"8 more", "hidden by the mask"} <= {*gpt2}  # token 3 sees 4, and they are drawn
    assert any("every key it sees" in word for word in (llama[0], llama[1]))


# --- numbers in cells


def test_small_matrices_carry_the_run_s_own_numbers() -> None:
    record = diagram("attention", "tiny")
    words = sheet(drawn(record)).words
    a = record.arrays
    for values, decimals in ((a.q, 1), (a.k, 1), (a.v, 1), (a.products, 1), (a.weights, 2), (a.output, 1)):
        for row in cell_texts(values, decimals):
            assert {*row} <= {*words}
    assert a.weights == pytest.approx(softmax(a.q @ a.k.T / 2))


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_cells_keep_to_their_decimals() -> None:
    values = np.array([[0.314, -0.314, -0.001], [1.5, -2.25, 0.0]])
    assert cell_texts(values) == [[".31", "-.31", ".00"], ["1.50", "-2.25", ".00"]]
    assert cell_texts(values, 1) == [["0.3", "-0.3", "0.0"], ["1.5", "-2.2", "0.0"]]
    assert cell_texts(np.array([[123.4, -5.0]])) == [["123", "-5"]]
    assert cell_texts(np.array([[1.0, 0.0, np.nan]])) == [["1", "0", ""]]
    assert cell_texts(np.array([[12345.0, np.inf]])) == [["1e4", "inf"]]


@pytest.mark.parametrize("kind", ["roles", "attention", "projections"])
def test_small_drawings_say_that_their_numbers_are_rounded(kind: Kind) -> None:
    assert ROUNDED in sheet(drawn(diagram(kind, "tiny"))).words
    assert (ROUNDED in sheet(drawn(diagram(kind, "sentence"))).words) == (kind == "roles")


def hatchings(figure: Drawn) -> list[PathPatch]:
    """What is hatched."""
    return [artist for artist in figure.axes[0].findobj(PathPatch) if isinstance(artist, PathPatch)]


def hatched(figure: Drawn) -> list[str]:
    """The names of what is hatched."""
    assert all(patch.get_hatch() for patch in hatchings(figure))
    return [str(patch.get_gid()) for patch in hatchings(figure)]


def hidden_cells(figure: Drawn, name: str) -> tuple[float, list[Bbox]]:
    """The area of a matrix, and the hatched rectangles within it, in points."""
    box = sheet(figure).box(name)
    to_points = figure.axes[0].transData.transform
    cells = []
    for patch in hatchings(figure):
        for corners in np.asarray(patch.get_path().vertices).reshape(-1, 5, 2):
            placed = np.asarray(to_points(corners)) * 72 / figure.dpi
            cells.append(Bbox([placed.min(axis=0), placed.max(axis=0)]))
    return box.width * box.height, [cell for cell in cells if box.padded(0.5).contains(*cell.min)]


@pytest.mark.parametrize("kind", ["attention", "parallel"])
@pytest.mark.parametrize(("case", "n"), [("tiny causal", 4), ("gpt2-small", 12)])
def test_what_a_mask_hides_is_hatched_and_nothing_else(kind: Kind, case: str, n: int) -> None:
    figure = drawn(diagram(kind, case))
    for name in (("S" if kind == "attention" else "scores"), "weights"):
        area, cells = hidden_cells(figure, name)
        assert sum(cell.width * cell.height for cell in cells) / area == pytest.approx((n - 1) / (2 * n), abs=0.01)
    assert hatched(drawn(diagram(kind, "sentence"))) == []


def test_hidden_cells_have_no_number() -> None:
    record = diagram("attention", "tiny causal")
    found = sheet(drawn(record))
    for name in ("S", "weights"):
        box = found.box(name)
        numbers = [text for text in found.texts if box.contains(*np.asarray(text.box).mean(axis=0))]
        assert len(numbers) == record.arrays.visible.sum() == 10


# --- the scale, the shapes, the colours


@pytest.mark.parametrize(
    ("case", "shown"), [("sentence", r"$\div\sqrt{32}$"), ("sandwich", r"$\times 0.0883$"), ("unscaled", r"$\times 1$")]
)
def test_the_scale_factor_is_the_largest_text_and_on_black(case: str, shown: str) -> None:
    figure = drawn(diagram("attention", case))
    found = sheet(figure)
    assert max(found.sizes, key=found.sizes.__getitem__) == shown
    (badge,) = [patch for patch in figure.axes[0].patches if patch.get_facecolor() == (0, 0, 0, 1)]
    assert badge.get_gid() == "scale"


def test_the_scale_s_effect_is_measured() -> None:
    record = diagram("attention", "sentence")
    variance = record.arrays.products.var()
    words = sheet(drawn(record)).words
    assert f"The scale takes the scores' variance from {variance:.1f} to {variance / 32:.2f}." in words
    assert any(word.startswith("No scale") for word in sheet(drawn(diagram("attention", "unscaled"))).words)


def test_lengths_are_to_one_scale_and_long_ones_say_that_they_are_cut() -> None:
    found = lengths([6, 4, 24], 8, 96)
    assert found == {4: (16.0, False), 6: (24.0, False), 24: (96.0, False)}
    found = lengths([13, 384, 32, 2048], 8.5, 60)
    assert found[32][0] / found[13][0] == pytest.approx(32 / 13)
    assert not found[13][1]
    assert not found[32][1]
    assert (found[384][1], found[2048][1]) == (True, True)
    assert found[32][0] < found[384][0] < found[2048][0] == 60


@pytest.mark.parametrize("case", ["tiny", "sentence", "vaswani-base", "gpt2-small", "many tokens"])
def test_parallel_draws_matrices_large_enough_and_with_their_shapes(case: str) -> None:
    record = diagram("parallel", case)
    found, w = sheet(drawn(record)), record.widths
    boxes = {name: found.box(name) for name in ("X", "Q", "K", "V", "scores", "weights", "A")}
    assert min(min(box.width, box.height) for box in boxes.values()) >= 40
    assert boxes["scores"].width == pytest.approx(boxes["scores"].height, abs=0.1)
    assert (boxes["X"].width > boxes["Q"].width) == (w.d_model > w.d_k)
    for shape in ((w.n, w.d_model), (w.n, w.d_k), (w.n, w.n)):
        assert f"{shape[0]:,} × {shape[1]:,}" in found.words
    assert f"output, {w.n:,} × {w.d_v:,}" in found.words
    assert {"scores", "weights", r"$\alpha$", r"$QK^{\top}$", "softmax"} <= {*found.words}
    assert any(word.startswith(r"$A=\mathrm{softmax}(QK^{\top}") for word in found.words)


@pytest.mark.parametrize("case", ["tiny", "sentence", "gpt2-small", "d_k is not d_v"])
def test_the_matrices_of_parallel_are_joined_by_arrows(case: str) -> None:
    figure = drawn(diagram("parallel", case))
    found = sheet(figure)
    goals = {name: found.box(name) for name in ("Q", "K", "V", "scores", "scale", "softmax", "weights", "A")}
    wide = {name: Bbox([(box.x0 - 1, box.y0 - 1), (box.x1 + 10, box.y1 + 50)]) for name, box in goals.items()}
    pointed = [name for tip in tips(figure) for name, box in wide.items() if box.contains(*tip)]
    assert {*pointed} == {*goals}
    assert len(tips(figure)) == 10  # and two into the product of weights and V
    ends = [line for line, _ in found.lines]
    for name in "QKV":  # each is left from its lower edge
        box = found.box(name)
        assert any(abs(line[0][1] - box.y0) < 1 and box.x0 < line[0][0] < box.x1 for line in ends)


@pytest.mark.parametrize("case", ["gpt2-small", "llama-like"])
def test_parallel_says_what_runs_at_once(case: str) -> None:
    record = diagram("parallel", case)
    words = sheet(drawn(record)).words
    w = record.widths
    assert f"all at once: 12 tokens × {w.heads + 2 * w.kv_heads} projections" in words
    assert words.count(f"× {w.heads} heads") == 3
    assert (words.count("all at once:"), words.count("12 rows"), words.count("12 × 12 pairs")) == (3, 2, 1)
    assert f"Then all {w.heads} heads side by side, times W_O." in words
    alone = sheet(drawn(diagram("parallel", "single-head"))).words
    assert alone.count("all at once:") == 3
    assert not any("heads" in word for word in alone if "·" not in word)


@pytest.mark.parametrize("kind", ["roles", "projections", "attention", "parallel"])
def test_a_role_has_its_colour_in_every_drawing(kind: Kind) -> None:
    figure = drawn(diagram(kind, "sentence"))
    edges = {to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches}
    roles = [palette.QUERY, palette.KEY, palette.VALUE] + ([] if kind == "projections" else [palette.OUTPUT])
    assert {darker(role) for role in roles} <= edges


def test_colours_are_mixed_with_white_or_black() -> None:
    assert mixed("#000000", 0.0) == "#ffffff"
    assert mixed("#204060", 1.0) == "#204060"
    assert mixed("#ffffff", 0.5, "#000000") == "#808080"
    found = shades("#204060", np.array([0.0, 0.3, 1.0, np.nan]))
    assert [to_hex(colour) for colour in found] == ["#ffffff", mixed("#204060", 0.3), "#204060", PANEL]


@pytest.mark.parametrize("case", PRESETS)
def test_projections_label_every_dimension(case: str) -> None:
    record = diagram("projections", case)
    words, w = sheet(drawn(record)).words, record.widths
    assert {f"$d={w.d_model}$", f"$d_k={w.d_k}$", f"$d_v={w.d_v}$"} <= {*words}
    assert {"input space", "projection matrices", "projected spaces"} <= {*words}
    for letter, width in (("Q", "k"), ("K", "k"), ("V", "v")):
        assert rf"$W_{letter}\ \ d\times d_{width}$" in words
    assert len([word for word in words if word.startswith(f"{w.d_model:,} × {w.d_k:,}")]) == 3
    assert any(word.endswith(f", {w.heads} heads") for word in words) == (w.heads > 1)
    assert any("b_Q" in word for word in words) == record.biased


# --- the block


@pytest.mark.parametrize(
    ("case", "norms", "equations"),
    [
        ("vaswani-base", 2, ["T2 = X + T1", "T3 = LayerNorm(T2)", "T5 = T3 + T4", "H = LayerNorm(T5)"]),
        ("gpt2-small", 2, ["T2 = X + T1", "T5 = T2 + T4", "H = T5"]),
        ("sandwich", 4, ["T2 = X + T1", "T5 = T2 + T4", "H = T5"]),
        ("output", 2, ["T2 = X + T1", "T5 = T2 + T4", "H = T5"]),
        ("parallel", 2, ["T2 = X + T1", "T5 = T2 + T4", "H = T5"]),
        ("single-head", 1, ["T2 = X + T1", "H = LayerNorm(T2)"]),
        ("pre, no feed-forward", 1, ["T2 = X + T1", "H = T2"]),
    ],
)
def test_a_block_has_its_own_norms_and_equations(case: str, norms: int, equations: list[str]) -> None:
    found = sheet(drawn(diagram("block", case)))
    assert len([placed for placed in found.boxes if placed.name == "norm"]) == norms
    assert [word for word in found.words if " = " in word] == equations


@pytest.mark.parametrize("case", ["vaswani-base", "gpt2-small", "sandwich", "output", "parallel"])
def test_the_residual_path_runs_from_x_to_h_past_both_parts(case: str) -> None:
    figure = drawn(diagram("block", case))
    found = sheet(figure)
    (path,) = [line for line in figure.axes[0].lines if line.get_gid() == "residual"]
    thick = float(path.get_linewidth())
    assert all(float(line.get_linewidth()) < thick for line in figure.axes[0].lines if line is not path)
    (x,) = {float(place) for place in np.asarray(path.get_xdata())}
    for part in ("Self-attention", "Feed-forward"):
        box = found.box(part)
        assert not box.x0 <= x <= box.x1
    branches = [line for line in figure.axes[0].lines if line.get_gid() == "branch"]
    assert len(branches) == 4
    assert [x in np.asarray(line.get_xdata()) for line in branches] == [True, False, True, False]


def test_where_the_norms_stand() -> None:
    """On the stream after each sum (post), or above (pre) or below (output) its part on the branch."""
    post, pre, output = (sheet(drawn(diagram("block", case))) for case in ("bert-base", "gpt2-small", "output"))
    for found, on_branch, above in ((post, False, None), (pre, True, True), (output, True, False)):
        norm = next(placed.box for placed in found.boxes if placed.name == "norm")
        part = found.box("Self-attention")
        assert (abs(norm.x0 + norm.x1 - part.x0 - part.x1) < 2) == on_branch
        assert above is None or (norm.y0 > part.y1) == above


@pytest.mark.parametrize(
    ("case", "said"), [("vaswani-base", "6 such layers"), ("96 heads", "48 such layers"), ("tiny", None)]
)
def test_layers_are_stacked(case: str, said: str | None) -> None:
    found = sheet(drawn(diagram("block", case)))
    assert [word for word in found.words if "such layers" in word] == ([] if said is None else [said])


def test_a_block_shows_how_long_its_tokens_are() -> None:
    record = diagram("block", "sentence")
    assert {f"‖{name}‖ {value:.3g}" for name, value in record.form.norms.items()} <= {
        word.rstrip("0").rstrip(".") if "‖" in word else word for word in sheet(drawn(record)).words
    } | {*sheet(drawn(record)).words}


# --- texts


def test_a_text_is_measured_as_it_is_drawn() -> None:
    for text, size, bold, formula in (
        ("river", 12, False, False),
        ("Σ: 13 × 32", 14, True, False),
        (r"$\alpha_{ij}$", 15, False, True),
    ):
        canvas = Canvas()
        artist = (
            canvas.formula(100, 20, text.strip("$")) if formula else canvas.write(100, 20, text, size=size, bold=bold)
        )
        canvas.reach(60)
        canvas.figure.set_dpi(400)
        width = artist.get_window_extent().width * 72 / 400
        assert measured(text, size, bold, formula).width == pytest.approx(width, abs=0.6)


def test_lines_break_at_a_comma_and_evenly_and_give_way_to_an_ellipsis() -> None:
    assert wrapped("one two", 400) == ["one two"]
    assert wrapped("three little words, and four", 140) == ["three little words,", "and four"]
    lines = wrapped("alpha beta gamma delta epsilon zeta", 140)
    assert len(lines) == 2
    assert abs(measured(lines[0]).width - measured(lines[1]).width) < 40
    cut = wrapped("many words " * 20, 140)
    assert len(cut) == 2
    assert cut[1].endswith("…")
    assert all(measured(line).width <= 140 for line in cut)
    assert measured("x", TEXT).width > 0


def tips(figure: Drawn) -> list[np.ndarray]:
    """Where arrows point to, in points."""
    axes = figure.axes[0]
    heads = [patch for patch in axes.patches if isinstance(patch, Polygon)]
    return [np.asarray(axes.transData.transform(head.get_xy()[0])) * 72 / figure.dpi for head in heads]


@pytest.mark.parametrize("case", ["tiny", "sentence", "vaswani-base", "d_k is not d_v"])
def test_the_steps_of_attention_are_joined_by_arrows(case: str) -> None:
    figure = drawn(diagram("attention", case))
    found = sheet(figure)
    names = ["X", "Q", "K", "V", "S", "scale", "softmax", "weights", "A"]
    boxes = {name: found.box(name).padded(1) for name in names}
    titled = {name: Bbox([box.min, (box.x1, box.y1 + 40)]) for name, box in boxes.items()}  # its letter stands above it
    pointed = [name for tip in tips(figure) for name, box in titled.items() if box.contains(*tip)]
    assert sorted(pointed) == sorted(names[1:])
    ends = [(line[0], line[-1]) for line, _ in found.lines]
    for before, after in (("S", "scale"), ("scale", "softmax"), ("softmax", "weights")):
        reached = boxes[after].padded(8)  # a line ends within its arrow's head
        assert any(boxes[before].contains(*start) and reached.contains(*end) for start, end in ends), (before, after)


@pytest.mark.parametrize("case", ["tiny", "sentence", "vaswani-base", "many tokens"])
def test_one_token_is_followed_from_x_i_to_a_i(case: str) -> None:
    record = diagram("attention", case)
    found, n = sheet(drawn(record)), record.widths.n
    labels = ["x_i", "q_i", "k_j", "v_j", r"q_i\cdot k_j", r"\alpha_{ij}", "a_i"]
    assert {f"${label}$" for label in labels} <= {*found.words}
    named = [f' "{record.tokens[t]}"' if record.tokens else "" for t in (record.query, record.key)]
    assert f"Framed: i = {record.query}{named[0]}, j = {record.key}{named[1]}." in found.words
    for name, label, row in (
        ("Q", "q_i", record.query), ("K", "k_j", record.key), ("V", "v_j", record.key), ("A", "a_i", record.query),
        ("weights", r"\alpha_{ij}", record.query), ("S", r"q_i\cdot k_j", record.query),
    ):  # fmt: skip
        box, frame = found.box(name), found.box(f"row {label}")
        assert (frame.x0, frame.x1) == pytest.approx((box.x0, box.x1), abs=0.5)
        assert (box.y1 - (frame.y0 + frame.y1) / 2) / box.height == pytest.approx((row + 0.5) / n, abs=0.03)
    for name, label in (("weights", r"\alpha_{ij}"), ("S", r"q_i\cdot k_j")):
        box, cell = found.box(name), found.box(f"cell {label}")
        assert ((cell.x0 + cell.x1) / 2 - box.x0) / box.width == pytest.approx((record.key + 0.5) / n, abs=0.01)


def test_the_tokens_stand_in_the_middle_above_what_is_made_of_them() -> None:
    found = sheet(drawn(diagram("attention", "tiny")))
    x, k = found.box("X"), found.box("K")
    assert x.x0 + x.x1 == pytest.approx(k.x0 + k.x1, abs=0.5)
    assert x.y0 > k.y1


def test_a_line_with_a_head_ends_in_its_tip() -> None:
    canvas = Canvas()
    canvas.line([(20, 30), (20, 60), (80, 60)])
    canvas.line([(20, 90), (80, 90)], head=False)
    canvas.reach(100)
    bare, headless = (line for line, _ in sheet(canvas.figure).lines)
    (tip,) = tips(canvas.figure)
    assert tip == pytest.approx((80, headless[-1][1] + 30), abs=0.1)
    assert bare[-1][0] < headless[-1][0] == pytest.approx(80, abs=0.1)  # none of it shows beside the tip


@pytest.mark.parametrize("end", [(80, 50), (20, 50), (50, 80), (50, 20)])
def test_an_arrow_s_head_lies_behind_its_tip(end: tuple[float, float]) -> None:
    canvas = Canvas()
    canvas.line([(50, 50), end])
    (head,) = (patch.get_xy()[:3] for patch in canvas.axes.patches if isinstance(patch, Polygon))
    assert tuple(head[0]) == end
    back = (head[1] + head[2]) / 2 - end
    towards = np.array([50, 50]) - end
    assert back @ towards == pytest.approx(np.linalg.norm(back) * 30)
    across = head[1] - head[2]
    assert across @ towards == pytest.approx(0)
    assert np.linalg.norm(back) > np.linalg.norm(across) / 2 > 0


@pytest.mark.parametrize("case", ["sentence", "gpt2-small"])
def test_a_vector_is_never_cut_across_its_one_row(case: str) -> None:
    """The white gap of a side cut short lies across that side: x and its W are cut across their rows, q is not."""
    figure = drawn(diagram("projections", case))
    found = sheet(figure)
    white = [
        patch
        for patch in figure.axes[0].patches
        if isinstance(patch, Polygon) and patch.get_facecolor()[:3] == (1, 1, 1)
    ]
    gaps = [Bbox(patch.get_window_extent().get_points() * 72 / figure.dpi) for patch in white]
    assert gaps
    for name in "qkv":
        box = found.box(name)
        across = [gap for gap in gaps if gap.width > box.width]
        assert not any(box.contains((gap.x0 + gap.x1) / 2, (gap.y0 + gap.y1) / 2) for gap in across)
