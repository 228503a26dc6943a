"""Words, numbers and flags of a command line, read by attnlab itself; and by typer, should it stop asking attnlab."""

from inspect import unwrap
from typing import Annotated, Any, get_type_hints

import pytest
import typer
import typer.main

from attnlab.cli import quick
from attnlab.cli.app import COMMANDS, build_app
from attnlab.cli.failures import TyperUsageError
from attnlab.cli.quick import QuickCommand, QuickGroup

GIVEN: dict[str, Any] = {}


def doubled(value: int | None) -> int | None:
    """A parameter's callback."""
    return value and 2 * value


def probe(
    words: Annotated[list[str], typer.Argument()],
    n: Annotated[int | None, typer.Option()] = None,
    often: Annotated[list[int] | None, typer.Option()] = None,
    rho: Annotated[float, typer.Option()] = 0.5,
    name: Annotated[str, typer.Option()] = "normal",
    twice: Annotated[int | None, typer.Option(callback=doubled)] = None,
    flag: Annotated[bool, typer.Option("--flag")] = False,
) -> None:
    """A parameter of each kind that attnlab has."""
    GIVEN.clear()
    GIVEN.update(locals())


def parsed(*arguments: str) -> dict[str, Any]:
    """What the command gets from its command line."""
    app = typer.Typer(cls=QuickGroup)
    app.callback()(lambda: None)
    app.command(cls=QuickCommand)(probe)
    app(args=["probe", *arguments], standalone_mode=False)
    return dict(GIVEN)


LINES = [
    (["a"], {"words": ["a"], "n": None, "often": None, "rho": 0.5, "name": "normal", "twice": None, "flag": False}),
    (
        [
            "a",
            "b",
            "--n",
            "7",
            "--often",
            "3",
            "--often",
            "-5",
            "--rho",
            "-1e-3",
            "--name",
            "x",
            "--twice",
            "4",
            "--flag",
        ],
        {"words": ["a", "b"], "n": 7, "often": [3, -5], "rho": -1e-3, "name": "x", "twice": 8, "flag": True},
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), LINES, ids=["defaults", "all"])
class TestValues:
    def test_are_read_here(self, arguments: list[str], expected: dict[str, Any]) -> None:
        assert parsed(*arguments) == expected
        assert [type(value) for value in GIVEN.values()] == [type(value) for value in expected.values()]

    def test_are_the_same_where_typer_reads_them(
        self, arguments: list[str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quick, "READERS", {})
        assert parsed(*arguments) == expected


def test_typer_asks_parameters_to_process_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    processed = quick.processed

    def noted(parameter: Any, *others: Any) -> Any:
        asked.append(parameter.name)
        return processed(parameter, *others)

    monkeypatch.setattr(quick, "processed", noted)
    parsed("a")
    assert {"words", "n", "often", "rho", "name", "twice", "flag", "help"} <= {*asked}, (
        "typer no longer calls a parameter's process_value: attnlab/cli/quick.py does nothing, commands start with"
        " pydantic's import, and complaints of numbers are typer's own; find what typer calls instead"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a", "--n", "3.5"], "Invalid value for '--n': '3.5'; expected a whole number"),
        (["a", "--often", "3", "--often", ""], "Invalid value for '--often': ''; expected a whole number"),
        (["a", "--rho", "x"], "Invalid value for '--rho': 'x'; expected a number"),
        ([], "Missing argument 'words'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_read_is_a_complaint_about_its_parameter(arguments: list[str], complaint: str) -> None:
    with pytest.raises(TyperUsageError) as caught:
        parsed(*arguments)
    assert caught.value.format_message().rstrip(".") == complaint.rstrip(".")
    assert caught.value.ctx.command_path.endswith("probe")


def test_every_number_of_every_command_is_read_here() -> None:
    group: Any = typer.main.get_command(build_app())
    commands: dict[str, Any] = group.commands
    complaints = {}
    for name in COMMANDS.keys() - {"config"}:
        hints = get_type_hints(unwrap(commands[name].callback))
        numbers = [
            parameter for parameter in commands[name].params if quick.kinds(hints[parameter.name]) & {int, float}
        ]
        for parameter in numbers:
            with pytest.raises(TyperUsageError) as caught:
                build_app([name])(args=[name, parameter.opts[0], "x"], standalone_mode=False)
            complaints[name, parameter.opts[0]] = caught.value.message
    assert complaints["variance", "--correlation"] == "'x'; expected a number"
    assert len(complaints) > 30
    assert {*complaints.values()} == {"'x'; expected a whole number", "'x'; expected a number"}
