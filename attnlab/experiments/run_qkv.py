"""`attnlab run --qkv`: attention of queries, keys and values as they are given, its matrices kept or streamed."""

from collections.abc import Callable, Sequence

import numpy as np

from attnlab.errors import UsageError
from attnlab.experiments.checks import attention_checks, identity_check
from attnlab.experiments.expectation import Expectation
from attnlab.experiments.nonfinite import in_arrays
from attnlab.experiments.run import attention_arrays, head_result, heads_with_keys
from attnlab.experiments.run_record import HeadResult, NotFinite, RunRecord, Selection, chosen, result_of, shown_place
from attnlab.experiments.run_sample import row_error, rows_of, sample_of, streamed_checks
from attnlab.files.embeddings import QKV
from attnlab.files.kernels import KernelWish, Need, choose_kernel
from attnlab.files.stacks import LEAST_WORKING
from attnlab.maths.attention import attention_steps
from attnlab.maths.dense import dense_statistics
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.plan import WORKING
from attnlab.maths.precision import Array
from attnlab.maths.sampled_rows import head_of, sampled_rows
from attnlab.maths.streaming import stream
from attnlab.records import Check
from attnlab.theory.memory import dense_bytes, streaming_bytes

#: A bias as low hides a key for all that float32 can tell; −10,000 is written so, in bfloat16 −9,984.
BARRED = -9_000.0
#: Biases that are looked at together.
AT_ONCE = 1 << 18
UNKNOWN = Expectation(kind=None, reason="q, k and v were given: nothing is known of what made them")


@np.errstate(over="ignore", invalid="ignore")
def run_qkv(
    name: str,
    given: QKV,
    selection: Selection,
    *,
    max_bytes: int,
    kernel: KernelWish = "auto",
    asymmetry: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> RunRecord:
    """Attention of q, k, v as they are given: no block, so no steps, and nothing to predict the scores from.

    Args:
        kernel: as `choose_kernel` has it.
        asymmetry: measure it even when streaming.
        advance: called as `stream` calls it.

    Raises:
        ShapeError: they do not go together.
        MemoryRefused: what is asked for takes more than max_bytes.
        UsageError: a layer or head that is not there.
    """
    inputs = qkv_inputs(name, given)
    h, n, m = inputs.shape
    heads = chosen("head", selection.heads, h)
    place = shown_place(selection, chosen("layer", selection.layers, 1), heads, (1, h))
    need = qkv_need(name, inputs)
    taken = choose_kernel(kernel, need, max_bytes)
    if taken.name == "dense":
        results, checks, arrays = kept(inputs, heads)
    else:
        working = min(WORKING, LEAST_WORKING + max_bytes - need.streaming)
        results, checks = streamed(inputs, heads, place[1], asymmetry, working, advance)
        arrays = {}
    return RunRecord(
        name=name,
        spec=None,
        n_layers=1,
        n=n,
        m=m,
        width=given.q.shape[-1],
        dtype=inputs.dtype.name,
        tokens=(),
        heads=results,
        shown=result_of(results, place),
        steps=(),
        checks=checks,
        not_finite=in_arrays({"q": inputs.q, "k": inputs.k, "v": inputs.v}) or beyond(results),
        barred_rows=barred_rows(inputs, heads),
        kernel=taken,
        arrays=arrays,
    )


def barred_rows(inputs: AttentionInputs, heads: Sequence[int]) -> int:
    """Rows of these heads in which each key that is not hidden has a bias of `BARRED` or less.

    Where others write −10,000 or the least number that there is for "hidden", the softmax of such a row is one over
    keys that were all to be hidden: it is counted as the row that it is, and said.
    """
    if not isinstance(inputs.bias, np.ndarray):
        return 0
    bias = np.broadcast_to(inputs.bias, inputs.shape)
    mask = None if not isinstance(inputs.mask, np.ndarray) else np.broadcast_to(inputs.mask, inputs.shape)
    count, height = 0, max(1, AT_ONCE // max(1, inputs.shape[-1]))
    for head in heads:
        for start in range(0, inputs.shape[-2], height):
            rows = slice(start, start + height)
            seen = ~np.isneginf(bias[head, rows])
            if mask is not None:
                seen &= mask[head, rows]
            low = (bias[head, rows] <= BARRED) | ~seen
            count += int((low.all(axis=-1) & seen.any(axis=-1)).sum())
    return count


def beyond(heads: Sequence[HeadResult]) -> NotFinite | None:
    """That scores of finite arrays are not finite, where they are not."""
    broken = any(head.statistics.nonfinite_rows for head in heads)
    return NotFinite("the product q·k") if broken else None


def kept(inputs: AttentionInputs, heads: Sequence[int]) -> tuple[list[HeadResult], list[Check], dict[str, Array]]:
    """Heads, checks and arrays of an attention whose matrices are kept."""
    steps = attention_steps(inputs)
    statistics = dense_statistics(steps, inputs.v)
    results = [head_result(0, head, steps, statistics, UNKNOWN) for head in heads]
    checks = attention_checks([steps], [statistics])
    if steps.visible is None:
        q = inputs.q.reshape(*inputs.shape[:-1], -1)
        checks.append(identity_check(heads_with_keys(q, inputs.k, steps.scores), inputs.scale))
    return results, checks, attention_arrays(0, steps)


def streamed(
    inputs: AttentionInputs,
    heads: Sequence[int],
    shown: int,
    asymmetry: bool,
    max_bytes: int,
    advance: Callable[[], None],
) -> tuple[list[HeadResult], list[Check]]:
    """Heads and checks of an attention whose matrices are never made; a few rows of the shown head."""
    h, n, m = inputs.shape
    found = stream(inputs, asymmetry=asymmetry, max_bytes=max_bytes, advance=advance)
    queries, errors, results = sample_of(n), [], []
    for head in range(h):
        steps = sampled_rows(head_of(inputs, head), queries)
        errors.append(row_error(inputs, found, head, queries, steps))
        if head in heads:
            rows = rows_of(queries, steps) if head == shown else None
            own = found.statistics.of_head(head)
            results.append(HeadResult(layer=0, head=head, statistics=own, expectation=UNKNOWN, rows=rows, n=n))
    results.sort(key=lambda result: list(heads).index(result.head))
    return results, streamed_checks(n, m, inputs.q.dtype, [found.statistics], errors)


def qkv_need(name: str, inputs: AttentionInputs) -> Need:
    """What either way takes, the arrays among it: as they came, and where those are half precision as computed with."""
    h, n, m = inputs.shape
    size, widths = inputs.q.dtype.itemsize, {"d": inputs.k.shape[-1], "e": inputs.v.shape[-1]}
    numbers = inputs.q.size + inputs.k.size + inputs.v.size
    given = numbers * (size if inputs.dtype == inputs.q.dtype else size + inputs.dtype.itemsize)
    given += sum(array.nbytes for array in (inputs.mask, inputs.bias) if isinstance(array, np.ndarray))
    return Need(
        what=f"{name}: {n:,} queries and {m:,} keys",
        dense=given + dense_bytes(n, m, heads=h, **widths, hidden=inputs.hides, itemsize=size),
        streaming=given + streaming_bytes(n, m, heads=h, **widths, working=LEAST_WORKING, itemsize=size),
        way_out=lambda *_: "take fewer",
    )


def qkv_inputs(name: str, given: QKV) -> AttentionInputs:
    """The arrays, checked.

    Raises:
        ShapeError: they do not go together.
        UsageError: they have axes before the heads.
    """
    inputs = attention_inputs(
        *(given.q, given.k, given.v),
        mask=given.mask,
        bias=given.bias,
        causal=False,
        window=None,
        scale=None,
        softcap=None,
    )
    if len(inputs.shape) != 3:
        raise UsageError(f"{name}: q of shape {given.q.shape}; expected (heads, n, d) or (n, d)")
    return inputs
