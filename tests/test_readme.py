"""README.md and docs/ say what attnlab prints, name every command, and show and link to what is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from attnlab.cli.app import build_app
from tests.commands import ROOT
from tests.golden import make_pictures
from tests.readme_blocks import PAGES, blocks, commands, lines_agree, mismatch, output, outputs, rewritten

#: page -> its text
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
#: A screen each for what it is, six things to do, and where the rest is.
MOST_LINES, MOST_OUTPUT_LINES = 250, 15
FEWEST_BLOCKS = {"README.md": 6, "docs/tutorial.md": 6, "docs/how-to.md": 10, "docs/theory.md": 5}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Stands before a block of commands that are not run.
NOT_RUN = re.compile(r"<!-- not run by the tests: \S[^\n]*-->\n\Z")
PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+)")

SHOWN = """\
Scores                 measured  if isotropic
mean, variance     0.41, 1.92    -
T3 = LayerNorm(T2)   2.47e-10    1.00
Spread (4.32 ± 0.14)e-16  (1.70 ± 0.12)e-03
Checks: rows sum to 1 (off by at most 4.7e-08) · ‖o‖ ≤ max‖v‖ (0.72 of it)
    bank  .09  .04  .69* over 13 keys of 384
Written: outputs/run-20261122-193012-3f9a/ (result.json)""".splitlines()


def command_tree(command: Any, path: str = "attnlab") -> Iterator[tuple[str, Any]]:
    """The full names of a command, or of every command in a group."""
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_tree(inner, f"{path} {name}")


COMMANDS = dict(command_tree(typer.main.get_command(build_app())))


def outside_blocks(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{page}: {block.partition(chr(10))[0]}")
        for page, text in TEXTS.items()
        for block in blocks(text)
    ],
)
def test_a_block_shows_what_its_commands_print(page: str, block: str) -> None:
    for command, printed in zip(commands(block), outputs(block), strict=True):
        difference = mismatch(command.shown, printed)
        assert not difference, f"{page}\n{difference}\n\npython -m tests.golden.update_readme sets it anew"


@pytest.mark.parametrize(("page", "fewest"), FEWEST_BLOCKS.items())
def test_there_are_blocks(page: str, fewest: int) -> None:
    assert len(blocks(TEXTS[page])) >= fewest


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES
    printed = [
        [line for line in inside.splitlines() if not line.startswith("$ ")]
        for name, inside in FENCE.findall(README)
        if name in ("console", "text")
    ]
    assert max(map(len, printed)) <= MOST_OUTPUT_LINES


@pytest.mark.parametrize("page", TEXTS)
def test_a_block_that_is_not_run_says_so(page: str) -> None:
    text = TEXTS[page]
    for match in FENCE.finditer(text):
        if re.search(r"^\$ attnlab", match[2], re.MULTILINE) and match[1] != "console":
            assert NOT_RUN.search(text[: match.start()]), match[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_named(name: str) -> None:
    words = name.split()
    inner = rf"|`attnlab {words[1]}` \|[^|]*`{words[2]}`" if len(words) > 2 else ""
    assert re.search(rf"{name}\b{inner}", README)


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_line_is_one_that_there_is(page: str) -> None:
    """In running text, in ```sh and in ```console: the command, and each of its options."""
    lines = re.findall(r"`(attnlab [a-z][^`]*)`", outside_blocks(TEXTS[page]))
    for _, inside in FENCE.findall(TEXTS[page]):
        lines += re.findall(r"^(?:\$ )?(attnlab [a-z].*)$", inside, re.MULTILINE)
    for line in (" ".join(line.split()).removesuffix(" COMMAND") for line in lines):
        names = [name for name in COMMANDS if re.match(rf"{name}( |$)", line)]
        group = any(name.startswith(f"{line} ") for name in COMMANDS)
        assert names or group, line
        options = {option for name in names for one in COMMANDS[name].params for option in one.opts}
        wanted = set(re.findall(r"(?<= )--[a-z][a-z-]*", re.sub(r"#.*|[|>].*|\"[^\"]*\"", "", line)))
        assert wanted - {"--help"} <= options or group, line


def test_every_option_that_is_named_is_one_that_there_is() -> None:
    known = {option for command in COMMANDS.values() for one in command.params for option in one.opts}
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    others = {"--inputs"}  # of tests.fuzz.record
    for page, text in TEXTS.items():
        inline = re.findall(r"`([^`]*)`", outside_blocks(text))
        named = {option for code in inline for option in re.findall(r"(?:^|(?<= ))--[a-z][a-z-]*", code)}
        assert named - known - others == set(), page


def test_every_picture_and_file_that_is_linked_is_there() -> None:
    for page, text in TEXTS.items():
        links = PICTURE.findall(text) + re.findall(r"\]\(([^)\s]+)", outside_blocks(text))
        for target, _, place in (link.partition("#") for link in links if "://" not in link):
            file = (ROOT / page).parent / target if target else ROOT / page
            assert file.exists(), f"{page}: {target}"
            if place:
                assert place in anchors(file.read_text(encoding="utf-8")), f"{page}: {target}#{place}"


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", outside_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_contents() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", TEXTS["docs/README.md"]))
    inside = {page.removeprefix("docs/") for page in TEXTS if page.startswith("docs/")} - {"README.md"}
    assert inside <= linked


def test_a_script_draws_every_picture() -> None:
    """tests.golden.make_pictures; it fails where a command writes no figure of that name."""
    shown = {(ROOT / page).parent / target for page, text in TEXTS.items() for target in PICTURE.findall(text)}
    drawn = {*make_pictures.COMMANDS, *make_pictures.OF_A_MODEL}
    assert {picture.resolve() for picture in shown} == {make_pictures.FOLDER / name for name in drawn}


def test_the_python_runs() -> None:
    examples = [inside for text in TEXTS.values() for name, inside in FENCE.findall(text) if name == "python"]
    assert len(examples) == 3
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "docs/how-to.md", "exec"), names)
    assert names["statistics"].entropy.shape == (4,)
    assert names["rows"][0].entropy > 0


def changed(before: str, after: str) -> list[str]:
    """The shown lines with one thing changed, which must be there once."""
    text = "\n".join(SHOWN)
    assert text.count(before) == 1
    return text.replace(before, after).splitlines()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("run-20261122-193012-3f9a", "run-20270101-000000-0000"),
        (".69*", ".70*"),
        ("1.92", "1.94"),
        ("4.7e-08", "1.2e-07"),
        ("4.7e-08", "4.66e-08"),
        ("  2.47e-10", " -9.07e-10"),
        ("Scores                 ", "Scores                "),
        ("384", "386"),
        ("(4.32 ± 0.14)", "(4.25 ± 0.31)"),
        ("(1.70 ±", "(1.72 ±"),
    ],
)
def test_another_machines_last_digits_agree(before: str, after: str) -> None:
    assert mismatch(SHOWN, changed(before, after)) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("isotropic", "anisotropic"),
        ("1.92", "2.11"),
        ("1.92", "-1.92"),
        ("1.92", "nan"),
        ("0.72", "0.79"),
        ("0.72", "0.720"),
        ("1.92", "1.9"),
        ("1.92", "1.92e0"),
        (".69*", ".69"),
        ("    bank", "  bank"),
        ("13 keys", "14 keys"),
        ("384", "422"),
        ("4.7e-08", "4.7e-06"),
        ("4.7e-08", "4.7e-04"),
        ("4.7e-08", "4.7e-8"),
        ("0.14)e-16", "0.14)e-13"),
        ("(1.70 ±", "(1.79 ±"),
        ("0.12)e-03", "0.12)e-04"),
        ("outputs/run-", "outputs/why-"),
        ("(result.json)", "(result.json)\n\nmore"),
        ("\nChecks", "\n\nChecks"),
    ],
)
def test_anything_else_is_a_mismatch(before: str, after: str) -> None:
    assert mismatch(SHOWN, changed(before, after))


def test_a_mismatch_shows_both_lines() -> None:
    difference = mismatch(SHOWN, changed("isotropic", "anisotropic")).splitlines()
    assert "-Scores                 measured  if isotropic" in difference
    assert "+Scores                 measured  if anisotropic" in difference


@pytest.mark.parametrize("version", ["0.1.0", "0.1.1"])
def test_a_version_is_no_number(version: str) -> None:
    assert lines_agree("attnlab 0.1.0", f"attnlab {version}") == (version == "0.1.0")


@pytest.mark.parametrize("shown", ["a … d", "… b … d", "a …", "… d", "…", "a b … d", "a … c d", "a b … … c d"])
def test_an_ellipsis_stands_for_any_lines(shown: str) -> None:
    assert mismatch(shown.split(), ["a", "b", "c", "d"]) == ""


@pytest.mark.parametrize("shown", ["a … c", "b …", "… c … b … d", "a b d", "… x … d", "a b c … c d"])
def test_an_ellipsis_does_not_hide_what_stands_beside_it(shown: str) -> None:
    assert mismatch(shown.split(), ["a", "b", "c", "d"])


BLOCK = "Text.\n\n```console\n$ attnlab one\na 1.00\nz\n$ attnlab two\np\n…\nq 5\nr\n…\ns\n```\n\n```yaml\nx: 1\n```\n"


def test_a_block_that_holds_is_left_as_it_is() -> None:
    assert rewritten(BLOCK, lambda block: [["a 1.01", "z"], ["p", "q 5", "r", "more", "s"]]) == BLOCK


def test_a_block_that_does_not_hold_is_set_anew_and_keeps_its_gaps() -> None:
    now = [["a 2.00"], ["P", "more", "q 6", "r", "more", "S"]]
    new = BLOCK.replace("a 1.00\nz", "a 2.00").replace("\np\n", "\nP\n").replace("q 5", "q 6").replace("\ns\n", "\nS\n")
    assert rewritten(BLOCK, lambda block: now) == new


def test_blocks_without_a_command_of_ours_are_not_run() -> None:
    assert blocks("```console\n$ ls\n```\n\n```sh\n$ attnlab run\n```\n") == []


def test_an_error_is_an_output_too(tmp_path: Path) -> None:
    (line,) = output("attnlab run --n 0", tmp_path)
    assert line.startswith("attnlab: error: run: --n 0")


def test_a_failure_without_a_word_is_not_an_output(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="only attnlab's own commands"):
        output("ls", tmp_path)
