"""A few queries of one head against all keys, in full view and in float64: what a streamed attention is held to."""

from collections.abc import Sequence

import numpy as np

from attnlab.maths.attention import AttentionSteps, attention_steps
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs, attention_inputs


def head_of(inputs: AttentionInputs, index: int) -> Head:
    """One head of inputs without leading axes."""
    h, n, _ = inputs.shape
    group = index // (h // len(inputs.k))
    rows = slice(index % (h // len(inputs.k)) * n, None)
    return Head((index,), (group,), inputs.q[group, rows][:n], inputs.k[group], inputs.v[group], inputs)


def sampled_rows(head: Head, queries: Sequence[int]) -> AttentionSteps:
    """The attention of these queries of a head, (1, queries, m), from its queries and keys as they are, in float64."""
    keys = slice(0, len(head.k))
    biases, masks = [], []
    for i in queries:
        bias = head.bias(slice(i, i + 1), keys)
        hidden = head.hidden(slice(i, i + 1), keys, bias)
        biases.append(None if bias is None else np.broadcast_to(bias, (1, len(head.k))).astype(np.float64))
        masks.append(np.ones((1, len(head.k)), dtype=bool) if hidden is None else ~hidden)
    given = [bias for bias in biases if bias is not None]
    alone = attention_inputs(
        *(part.astype(np.float64) for part in (head.q[list(queries)], head.k, head.v)),
        mask=np.concatenate(masks) if head.inputs.hides else None,
        bias=np.concatenate(given) if given else None,
        causal=False,
        window=None,
        scale=head.inputs.scale,
        softcap=head.inputs.softcap,
    )
    return attention_steps(alone)
