"""Whether an attention keeps its matrices or is streamed: as asked, or by how large they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from attnlab.errors import MemoryRefused

#: What a person may ask for.
KernelName = Literal["auto", "dense", "streaming"]
KERNELS: tuple[KernelName, ...] = get_args(KernelName)
#: None: the work needs the matrices, and has no other way.
KernelWish = KernelName | None


class Kernel(NamedTuple):
    """How attention is computed: with its matrices kept, or without ever making them."""

    name: Literal["dense", "streaming"]
    #: in words; empty where nothing need be said
    reason: str = ""


#: Up to so much "auto" keeps the matrices and all that goes with them. Fixed, and no matter of what is free at the
#: moment: the same command gives the same numbers.
KEPT = 1 << 30
#: The matrices are kept.
DENSE = Kernel("dense")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What some work takes, in bytes, either way."""

    #: "single-head: 3,000 tokens": what is said to need it
    what: str
    dense: int
    streaming: int
    #: kernel, bytes that may be used -> what would fit: "take 1,200 tokens"
    way_out: Callable[[Literal["dense", "streaming"], int], str]


def choose_kernel(wish: KernelWish, need: Need, max_bytes: int) -> Kernel:
    """The kernel asked for, or, for "auto", the dense one up to `KEPT` bytes.

    Raises:
        MemoryRefused: it takes more than max_bytes; says how much, and the way round.
    """
    reason = "as asked"
    if wish == "auto":
        wish = "dense" if need.dense <= KEPT else "streaming"
        reason = f"with its matrices it would need {in_words(need.dense)}, and they are kept up to {in_words(KEPT)}"
    may, more = f"and {in_words(max_bytes)} may be used", "or give --max-memory more"
    whole = f"would need {in_words(need.dense)}"
    if wish != "streaming" and need.dense <= max_bytes:
        return DENSE
    if wish == "streaming":
        if need.streaming <= max_bytes:
            return Kernel("streaming", reason)
        streaming = f"would need {in_words(need.streaming)} even without their matrices"
        raise MemoryRefused(f"{need.what} {streaming}, {may}; {need.way_out('streaming', max_bytes)}, {more}")
    ways = [need.way_out("dense", max_bytes), more]
    if wish == "dense" and need.streaming <= max_bytes:
        ways.insert(0, f"add --kernel streaming (needs {in_words(need.streaming)})")
    purpose = " for their matrices" if wish == "dense" else ""
    raise MemoryRefused(f"{need.what} {whole}{purpose}, {may}; {', '.join(ways)}")


def in_words(size: int) -> str:
    """Bytes as people read them: "16.0 GiB", below a tenth of one "31.4 MiB"."""
    return f"{size / 2**30:,.1f} GiB" if size > 0.1 * 2**30 else f"{size / 2**20:,.1f} MiB"
