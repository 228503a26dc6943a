"""Commands whose words and numbers are parsed without pydantic.

Recent typer hands every value to pydantic, whose import takes longer than a short run of attnlab. Our options are text,
whole numbers and numbers, so they are read here, with complaints in attnlab's own form. A typer that has no such hook
reads them itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from attnlab.cli.failures import TyperUsageError
from attnlab.cli.options import whole_number
from attnlab.files.opening import quoted


def _reader(kind: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """A reader of text that complains by saying what was expected."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"{quoted(text)}; expected {expected}") from None

    return read


def _truth(text: str) -> bool:
    """A flag's value, where one comes as text."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


READERS: dict[object, Callable[[str], Any]] = {
    str: str,
    int: _reader(whole_number, "a whole number"),
    float: _reader(float, "a number"),
    bool: _reader(_truth, "true or false"),
}


class PlainReader:
    """What typer asks to turn an option's text into its value."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of one option, or of each of several; what is no text is a default and stays as it is."""
        try:
            if param.multiple or param.nargs == -1:
                return [self.read(one) for one in value or ()]
            return self.read(value) if isinstance(value, str) else value
        except typer.BadParameter as error:
            raise typer.BadParameter(error.message, ctx=ctx, param=param) from None


def read_plainly(parameters: Sequence[Any]) -> None:
    """Give each parameter of a plain type its plain reader."""
    for parameter in parameters:
        annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
        if get_origin(annotation) is list:
            (annotation,) = get_args(annotation)
        if annotation in READERS and hasattr(parameter, "_runtime_param"):
            parameter._runtime_param = PlainReader(READERS[annotation])


class QuickCommand(TyperCommand):
    """A command that reads plain options plainly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, with the plain readers in place."""
        read_plainly(self.get_params(ctx))
        try:
            return super().parse_args(ctx, args)
        except TyperUsageError as error:  # the parser's own complaints do not say whose they are
            error.ctx = error.ctx or ctx
            raise


class QuickGroup(TyperGroup):
    """A group of commands whose own options are read plainly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, with the plain readers in place."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)
