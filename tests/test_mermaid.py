"""Mermaid text keeps to the grammar of a flowchart, whatever a token says; its arrows are the drawing's."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from attnlab.experiments.diagram import KINDS, Kind
from attnlab.show import palette
from attnlab.show.mermaid import flowchart, label
from tests.diagram_cases import ODD, PRESETS, diagram

NAME = r"[a-z]\w*"
#: Nothing in it is a quote, a tag other than a line break, or an entity that is not closed.
LABEL = r'"(?:[^"#<>&`\\|;%*_~\x00-\x1f]|#\d+;|<br/>)*"'
#: A flowchart's lines. Source: Mermaid's documentation, "Flowcharts: basic syntax".
GRAMMAR: Mapping[str, str] = {
    "comment": r"%% [^{}\n]*",
    "node": rf"({NAME})(?:\[{LABEL}\]|\({LABEL}\)|\(\({LABEL}\)\))(?:::({NAME}):?|:::({NAME}))?",
    "link": rf"({NAME}) (?:-->|==>)(?:\|{LABEL}\|)? ({NAME})",
    "subgraph": rf"subgraph ({NAME})\[{LABEL}\]",
    "end": "end",
    "class": rf"classDef ({NAME}) fill:#[0-9a-f]{{6}},stroke:#[0-9a-f]{{6}},color:#[0-9a-f]{{6}}",
}
#: Words that Mermaid keeps for itself.
RESERVED = {"end", "graph", "flowchart", "subgraph", "class", "click", "style", "default", "linkstyle", "direction"}


def parsed(text: str) -> dict[str, list[re.Match[str]]]:
    """The lines of a flowchart by kind.

    Raises:
        ValueError: the text is none: naming what is wrong.
    """
    first, *lines = text.removesuffix("\n").split("\n")
    if first not in ("flowchart TD", "flowchart LR"):
        raise ValueError(f"begins {first!r}")
    found: dict[str, list[re.Match[str]]] = {kind: [] for kind in GRAMMAR}
    depth = 0
    for line in lines:
        kind, match = kind_of(line.strip())
        found[kind].append(match)
        depth += (kind == "subgraph") - (kind == "end")
        if depth < 0:
            raise ValueError("an end too many")
    check_names(found, depth)
    return found


def kind_of(line: str) -> tuple[str, re.Match[str]]:
    for kind, pattern in GRAMMAR.items():
        if match := re.fullmatch(pattern, line):
            return kind, match
    raise ValueError(f"no line of a flowchart: {line!r}")


def check_names(found: Mapping[str, list[re.Match[str]]], depth: int) -> None:
    if depth:
        raise ValueError("a subgraph without an end")
    nodes = [match[1] for match in found["node"]]
    if len(nodes) != len({*nodes}) or RESERVED & {*nodes}:
        raise ValueError(f"names: {nodes}")
    if missing := {name for match in found["link"] for name in match.groups()} - {*nodes}:
        raise ValueError(f"linked, but not there: {missing}")
    classes = {name for match in found["node"] for name in match.groups()[1:] if name}
    if classes != {match[1] for match in found["class"]}:
        raise ValueError(f"classes: {classes}")


def links(text: str) -> set[tuple[str, str]]:
    return {(match[1], match[2]) for match in parsed(text)["link"]}


EVIL = '"]--> end <b>`#;|%%{x}\\\n$_*~&amp; Σ'


@pytest.mark.parametrize("case", [*PRESETS, *ODD])
@pytest.mark.parametrize("kind", KINDS)
def test_every_drawing_is_a_flowchart(kind: Kind, case: str) -> None:
    record = diagram(kind, case)
    assert parsed(flowchart(record))["node"]
    evil = replace(record, name=EVIL, title=EVIL, place=EVIL, tokens=[EVIL] * record.widths.n)
    assert links(flowchart(evil)) == links(flowchart(record))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("graph LR\n", "begins"),
        ('flowchart LR\n    a["x"y"]\n', "no line"),
        ('flowchart LR\n    a["<b>"]\n', "no line"),
        ('flowchart LR\n    a["#"]\n', "no line"),
        ('flowchart LR\n    a["x"]\n    a --> b\n', "not there"),
        ('flowchart LR\n    a["x"]\n    a["y"]\n', "names"),
        ('flowchart LR\n    end["x"]\n', "names"),
        ('flowchart LR\n    a["x"]:::key\n', "classes"),
        ('flowchart LR\n    subgraph s["x"]\n', "without an end"),
        ("flowchart LR\n    end\n", "an end too many"),
        ("flowchart LR\n    %% {init}\n", "no line"),
    ],
)
def test_the_grammar_sees_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parsed(text)


def test_labels_are_escaped() -> None:
    assert label('a "b" <c> #1; x_2') == "a #34;b#34; #60;c#62; #35;1#59; x#95;2"
    assert label("Σ α · √32 → ÷") == "Σ α · √32 → ÷"
    assert label("a\nb") == "a⏎b"


def test_roles_have_their_colours() -> None:
    text = flowchart(diagram("attention", "sentence"))
    for role, colour in (("query", palette.QUERY), ("key", palette.KEY), ("value", palette.VALUE)):
        assert f"classDef {role} fill:{colour}," in text
    assert 'scale["scale: ÷ √32"]:::scale' in text


def test_roles_lead_from_tokens_to_the_output() -> None:
    found = links(flowchart(diagram("roles", "sentence")))
    assert {
        ("x", "q"),
        ("x", "k2"),
        ("x", "v2"),
        ("q", "s5"),
        ("k5", "s5"),
        ("s5", "soft"),
        ("soft", "a5"),
        ("a5", "sum"),
        ("sum", "a"),
    } <= found
    assert {("x5", "v5"), ("v5", "sum"), ("soft", "others"), ("others", "sum")} <= found


def test_roles_are_focus_comparison_and_information() -> None:
    text = flowchart(diagram("roles", "sentence"))
    nodes = {match[1]: match[0] for match in parsed(text)["node"]}
    assert "x2" not in nodes
    for name, word in (("q", "focus"), ("k2", "comparison"), ("v2", "information")):
        assert word in nodes[name]
    assert 'x -->|"WQ"| q' in text
    assert 'x5 -->|"WK"| k5' in text


def test_projections_have_the_three_spaces_of_the_drawing() -> None:
    record = diagram("projections", "sentence")
    text = flowchart(record)
    groups: dict[str, list[str]] = {}
    members: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("subgraph"):
            groups[line.split('"')[1]] = members = []
        elif line == "end":
            members = []
        elif groups and "[" in line:
            members.append(line.partition("[")[0])
    assert groups == {
        "input space (d = 384)": ["x"],
        "projection matrices": ["wq", "wk", "wv"],
        "projected spaces": ["q", "k", "v"],
    }
    assert {("x", "wq"), ("wq", "q"), ("x", "wv"), ("wv", "v")} <= links(text)


def test_parallel_leads_from_x_to_a_in_four_groups() -> None:
    text = flowchart(diagram("parallel", "sentence"))
    assert len(parsed(text)["subgraph"]) == 4
    assert {("q", "s"), ("k", "s"), ("s", "soft"), ("soft", "weights"), ("weights", "a"), ("v", "a")} <= links(text)


@pytest.mark.parametrize(
    ("case", "residuals"),
    [
        ("vaswani-base", {("x", "sum1"), ("norm1", "sum2")}),
        ("gpt2-small", {("x", "sum1"), ("sum1", "sum2")}),
        ("sandwich", {("x", "sum1"), ("sum1", "sum2")}),
        ("parallel", {("x", "sum1"), ("sum1", "sum2")}),
        ("single-head", {("x", "sum1")}),
    ],
)
def test_a_block_s_residual_paths(case: str, residuals: set[tuple[str, str]]) -> None:
    text = flowchart(diagram("block", case))
    thick = {(match[1], match[2]) for match in parsed(text)["link"] if "==>" in match[0]}
    assert thick == residuals
    assert (("x", "before2") in links(text)) == (case == "parallel")
    assert {target for _, target in links(text) if target == "h"} == {"h"}
