"""A lab bench for self-attention: every step in view, every number beside its theory.

Importing this costs next to nothing: each public name is fetched from its own module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from attnlab.errors import AttnlabError, ConfigError, InputError, ShapeError
    from attnlab.files.stacks import load_stack
    from attnlab.maths.attention import Attention, attention, attention_scores
    from attnlab.maths.stack import Stack
    from attnlab.maths.streaming import StreamedAttention, attention_statistics
    from attnlab.models.checkpoint import Model, load_checkpoint

#: public name -> the module it lives in
_PUBLIC = {
    "Attention": "attnlab.maths.attention",
    "AttnlabError": "attnlab.errors",
    "ConfigError": "attnlab.errors",
    "InputError": "attnlab.errors",
    "Model": "attnlab.models.checkpoint",
    "ShapeError": "attnlab.errors",
    "Stack": "attnlab.maths.stack",
    "StreamedAttention": "attnlab.maths.streaming",
    "attention": "attnlab.maths.attention",
    "attention_scores": "attnlab.maths.attention",
    "attention_statistics": "attnlab.maths.streaming",
    "load_checkpoint": "attnlab.models.checkpoint",
    "load_stack": "attnlab.files.stacks",
}

__all__ = [
    "Attention",
    "AttnlabError",
    "ConfigError",
    "InputError",
    "Model",
    "ShapeError",
    "Stack",
    "StreamedAttention",
    "__version__",
    "attention",
    "attention_scores",
    "attention_statistics",
    "load_checkpoint",
    "load_stack",
]


if not TYPE_CHECKING:  # a type checker that knew of it would accept any name

    def __getattr__(name: str) -> object:
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
