"""The drawings as Mermaid flowcharts: text that Markdown renderers draw, the same numbers in its boxes.

A label stands in double quotes, and what Mermaid or HTML would read as its own is written as an entity code.
Source: Mermaid's documentation, "Flowcharts: basic syntax", sections "Special characters" and "Entity codes".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from attnlab.records import Diagram
from attnlab.show.diagrams_parallel import counted
from attnlab.show.diagrams_roles import other_keys
from attnlab.show.encoding import token_label, visible
from attnlab.show.numbers import number, weight
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

_ROLES = {"query": QUERY, "key": KEY, "value": VALUE, "output": OUTPUT}
#: What is not itself inside a label: quotes and entities, HTML, Markdown's strings, brackets of shapes.
_ESCAPED = {
    "#": 35,
    "&": 38,
    '"': 34,
    "<": 60,
    ">": 62,
    "`": 96,
    "\\": 92,
    "|": 124,
    ";": 59,
    "%": 37,
    "*": 42,
    "_": 95,
    "~": 126,
}
_TOKEN = 40


def flowchart(diagram: Diagram) -> str:
    """The drawing as Mermaid text, a comment with its title and place first."""
    lines = _CHARTS[diagram.kind](diagram)
    used = [role for role in _ROLES if any(line.endswith(f":::{role}") for line in lines)]
    colours = [f"classDef {role} fill:{_ROLES[role]},stroke:#1a1a1a,color:#000000" for role in used]
    direction = "TD" if diagram.kind == "block" else "LR"
    heading = [f"%% {_comment(text)}" for text in (diagram.title, f"{diagram.name} · {diagram.place}")]
    return "\n".join([f"flowchart {direction}", *("    " + line for line in [*heading, *lines, *colours])]) + "\n"


def label(text: str) -> str:
    """`text` as it may stand between the quotes of a label."""
    return "".join(f"#{_ESCAPED[c]};" if c in _ESCAPED else c for c in visible(text))


def _comment(text: str) -> str:
    """A comment ends with its line, and braces would make it a directive."""
    return visible(text).replace("{", "(").replace("}", ")")


def _node(name: str, *lines: str, role: str = "", shape: str = "[]") -> str:
    """A node with its label, which stands in several lines; shape: "[]", "()" or "(())"."""
    half = len(shape) // 2
    said = "<br/>".join(label(line) for line in lines)
    return f'{name}{shape[:half]}"{said}"{shape[half:]}' + (f":::{role}" if role else "")


def _link(*names: str, says: str = "") -> list[str]:
    """Arrows from each to the next."""
    arrow = f'-->|"{label(says)}"|' if says else "-->"
    return [f"{a} {arrow} {b}" for a, b in pairwise(names)]


def _shape(rows: int, columns: int) -> str:
    return f"{rows:,} × {columns:,}"


def _scale(diagram: Diagram) -> str:
    return f"÷ √{diagram.widths.d_k}" if diagram.usual_scale else f"× {number(diagram.scale)}"


def _token(diagram: Diagram, index: int) -> str:
    name = f"x{index}"
    return f"{name} = {token_label(diagram.tokens[index])[:_TOKEN]}" if diagram.tokens else name


def _roles(diagram: Diagram) -> list[str]:
    arrays, i = diagram.arrays, diagram.query
    lines = [
        _node("x", "embedding", _token(diagram, i)),
        _node("q", f"query q{i}", "focus: what is looked for", role="query"),
        *_link("x", "q", says="WQ"),
        _node("soft", "softmax", shape="()"),
        _node("sum", "Σ", shape="(())"),
        _node("a", f"output a{i} = Σ α v", role="output"),
        *_link("sum", "a"),
    ]
    for j in diagram.keys:
        score = f"{arrays.scores[i, j]:.2f}" if arrays.visible[i, j] else "hidden"
        then = f", then {', '.join(diagram.bent)}" if diagram.bent else ""
        source = "x" if j == i else f"x{j}"
        lines += [
            *([] if j == i else [_node(source, _token(diagram, j))]),
            _node(f"k{j}", f"key k{j}", "comparison", role="key"),
            _node(f"v{j}", f"value v{j}", "information", role="value"),
            _node(f"s{j}", f"score: q{i} · k{j} {_scale(diagram)}{then}", f"= {score}"),
            _node(f"a{j}", f"weight: α = {weight(float(arrays.weights[i, j]))}"),
            *_link(source, f"k{j}", says="WK"),
            *_link(source, f"v{j}", says="WV"),
            *_link(f"k{j}", f"s{j}", "soft", f"a{j}", "sum"),
            *_link(f"v{j}", "sum"),
            *_link("q", f"s{j}"),
        ]
    return lines + _other_keys(diagram)


def _other_keys(diagram: Diagram) -> list[str]:
    rest, _ = other_keys(diagram)
    if not rest:
        return []
    share = weight(float(diagram.arrays.weights[diagram.query, rest].sum()))
    return [_node("others", f"{len(rest):,} other keys", f"α = {share} together"), *_link("soft", "others", "sum")]


def _projections(diagram: Diagram) -> list[str]:
    w, i = diagram.widths, diagram.query
    rows = (("Q", "query", w.d_k, w.heads), ("K", "key", w.d_k, w.kv_heads), ("V", "value", w.d_v, w.kv_heads))
    matrices, spaces, links = [], [], []
    for letter, role, width, heads in rows:
        many = [f"{heads} heads"] if heads > 1 else []
        bias = f" + b{letter}" if diagram.biased else ""
        small, dimension = letter.lower(), f"d{'v' if letter == 'V' else 'k'}"
        shape = f"d × {dimension} = {_shape(w.d_model, width)}"
        matrices.append(_node(f"w{small}", f"W{letter}", shape, *many, role=role))
        equation = f"{small}{i} = x{i} W{letter}{bias}"
        spaces.append(_node(small, f"{role} space", f"{dimension} = {width}", equation, role=role))
        links += [*_link("x", f"w{small}"), *_link(f"w{small}", small, says=f"x{i} W{letter}")]
    return [
        *_group("input", f"input space (d = {w.d_model:,})", [_node("x", _token(diagram, i))]),
        *_group("matrices", "projection matrices", matrices),
        *_group("spaces", "projected spaces", spaces),
        *links,
    ]


def _attention(diagram: Diagram) -> list[str]:
    w = diagram.widths
    before = [*diagram.bent, *diagram.masked]
    bent = [_node("bent", *before)] if before else []
    way = ["scale", *(["bent"] if bent else []), "soft"]
    prepared = [f"then {', '.join(diagram.prepared)}"] if diagram.prepared else []
    return [
        _node("x", "X, rows xi", _shape(w.n, w.d_model)),
        _node("q", "Q, rows qi", _shape(w.n, w.d_k), *prepared, role="query"),
        _node("k", "K, rows kj", _shape(w.n, w.d_k), *prepared, role="key"),
        _node("v", "V, rows vj", _shape(w.n, w.d_v), role="value"),
        _node("s", "scores Q Kᵀ: qi · kj", _shape(w.n, w.n)),
        _node("scale", f"scale: {_scale(diagram)}") + ":::scale",
        *bent,
        _node("soft", "softmax", "each row", shape="()"),
        _node("weights", "weights αij", _shape(w.n, w.n)),
        _node("a", "output A, rows ai = Σ αij vj", _shape(w.n, w.d_v), role="output"),
        *(line for letter in "QKV" for line in _link("x", letter.lower(), says=f"W{letter}")),
        *_link("q", "s"),
        *_link("k", "s", *way, "weights", "a"),
        *_link("v", "a"),
        "classDef scale fill:#000000,stroke:#000000,color:#ffffff",
    ]


def _group(name: str, title: str, nodes: Iterable[str]) -> list[str]:
    return [f'subgraph {name}["{label(title)}"]', *("    " + node for node in nodes), "end"]


def _parallel(diagram: Diagram) -> list[str]:
    w = diagram.widths
    heads = f" × {w.heads} heads" if w.heads > 1 else ""
    project = [
        _node("q", "Q = X WQ", _shape(w.n, w.d_k), role="query"),
        _node("k", "K = X WK", _shape(w.n, w.d_k), role="key"),
        _node("v", "V = X WV", _shape(w.n, w.d_v), role="value"),
    ]
    projections = w.heads + 2 * w.kv_heads
    scores = [_node("s", "scores Q Kᵀ", _shape(w.n, w.n))]
    turned = [
        _node("soft", _scale(diagram), "softmax, each row", shape="()"),
        _node("weights", "weights α", _shape(w.n, w.n)),
    ]
    out = [_node("a", "output A = α V", _shape(w.n, w.d_v), role="output")]
    lines = [
        _node("x", "X", _shape(w.n, w.d_model)),
        *_group("one", f"1 Project, all at once: {counted(w.n, 'token')} × {projections} projections", project),
        *_group("two", f"2 Compare, all at once: {w.n:,} × {counted(w.n, 'pair')}{heads}", scores),
        *_group("three", f"3 Softmax, all at once: {counted(w.n, 'row')}{heads}", turned),
        *_group("four", f"4 Mix, all at once: {counted(w.n, 'row')}{heads}", out),
    ]
    links = [line for name in "qkv" for line in _link("x", name)]
    return [*lines, *links, *_link("q", "s"), *_link("k", "s", "soft", "weights", "a"), *_link("v", "a")]


def _block(diagram: Diagram) -> list[str]:
    form, w = diagram.form, diagram.widths
    title = f"{w.layers} such layers" if w.layers > 1 else "one block"
    nodes, links, last = _part(diagram, "x", "x", 1)
    if form.feed_forward:
        own = "x" if form.parallel else last
        more, further, last = _part(diagram, own, last, 2)
        nodes, links = nodes + more, links + further
    lines = [_node("x", "X", _shape(w.n, w.d_model)), *_group("block", title, nodes), _node("h", "H")]
    return [*lines, *links, *_link(last, "h")]


def _part(diagram: Diagram, read: str, stream: str, which: int) -> tuple[list[str], list[str], str]:
    """One part of a block and its sum: its nodes, its arrows, and the node that the stream leaves it by.

    Args:
        read: the node that the part reads; stream: the one that it is added to.
        which: 1 is the attention, 2 the feed-forward.
    """
    form = diagram.form
    part, total = f"part{which}", f"sum{which}"
    said = ("Self-attention", *form.attention) if which == 1 else ("Feed-forward", *form.feed_forward)
    nodes, way = [_node(part, *said)], [part]
    if form.norm_position in ("pre", "sandwich"):
        nodes, way = [_node(f"before{which}", form.norm, shape="()"), *nodes], [f"before{which}", *way]
    if form.norm_position in ("sandwich", "output"):
        nodes, way = [*nodes, _node(f"after{which}", form.norm, shape="()")], [*way, f"after{which}"]
    nodes.append(_node(total, f"+ T{2 if which == 1 else 5}", shape="(())"))
    links = [*_link(read, *way), *_link(way[-1], total, says=f"T{1 if which == 1 else 4}")]
    links += [f'{stream} ==>|"residual"| {total}']
    if form.norm_position != "post":
        return nodes, links, total
    norm = f"norm{which}"
    return [*nodes, _node(norm, form.norm, shape="()")], links + _link(total, norm), norm


_CHARTS: Mapping[str, Callable[[Diagram], Sequence[str]]] = {
    "roles": _roles,
    "projections": _projections,
    "attention": _attention,
    "parallel": _parallel,
    "block": _block,
}
