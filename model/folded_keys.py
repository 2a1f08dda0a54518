"""The keys of prompts in the folded decoder, which are never made, and the attention to and from them.

For prompt n, pixel p and channel c, with s = scale, f = factors and r = rows:

    keys[n, p, c] = s[n, p] * shared[p, c] + sum_r f[n, r, p] * rows[n, r, c] + bias[c]

Tokens attend to the image (`attend`). With W a projection to a head, q a token's query and x = position + bias:

    q . W (keys + position)[n, p] = s[n, p] * (q . W shared[p]) + sum_r f[n, r, p] * (q . W rows[n, r]) + q . W x[p]

The image attends to tokens (`attend_back`). With a[n, j, p] the softmax over the tokens t of head h, j = (h, t), and
v[n, j] what the output projection makes of that head's value of that token:

    keys'[n, p] = keys[n, p] + sum_j a[n, j, p] * v[n, j] + b      A * T + 1 new rows: v[n, j], and b with factor 1

and then the layer norm, with mean over the channels taken from `shared`, rows and bias beforehand:

    keys''[n, p] = keys'[n, p] / sqrt(var[n, p] + eps) * weight + norm.bias
    var[n, p] = s^2 * mean(shared[p]^2) + 2 s * sum_r f[r] * mean(shared[p] rows[r])
                + sum_r sum_q f[r] f[q] * mean(rows[r] rows[q])

so that s and f are divided by the deviation, and `shared` and rows multiplied by the weight.

Shapes: N prompts, T tokens each; A heads of D channels; C channels; P pixels; R rows, M of a mask prompt and A * T + 1
for each layer passed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.folded_image import Projection, SharedLayer, SharedNorm
from model.transformer import Attention, TwoWayAttentionBlock

PROMPTS_AT_ONCE = {"cpu": 1}  # prompts whose pixels are in hand together; one prompt's stay in the cache of a core


@dataclass
class Keys:
    """The keys of N prompts, without their bias. scale: (N, P). factors: (N, R, P). rows: (N, R, C).

    used: how many of the R rows are there yet. of_masks: how many of them are those of mask prompts. values: for each
    layer passed the tokens' values that its rows are made of, (N, A, T, D).
    """

    scale: Tensor
    factors: Tensor
    rows: Tensor
    used: int
    of_masks: int
    values: list[Tensor]

    def chunks(self, count: int | None = None) -> Iterator[slice]:
        """Of `count` prompts (None: all), a few at a time, as many as the device likes best."""
        count = len(self.scale) if count is None else count
        step = PROMPTS_AT_ONCE.get(self.scale.device.type, max(count, 1))
        return (slice(start, start + step) for start in range(0, count, step))


def attend(attention: Attention, queries: Tensor, keys: Keys, to_keys: Projection, to_values: Projection) -> Tensor:
    """Tokens (N, T, C) attend to the image: what they take from it, (N, T, C)."""
    asked = heads(attention.q_proj(queries), attention.num_heads)
    asked = asked / asked.shape[-1] ** 0.5
    rows = keys.rows[:, : keys.used]
    values = torch.einsum("nrc,adc->nard", rows, to_values.weight)
    by_row = (asked @ torch.einsum("nrc,adc->nadr", rows, to_keys.weight)).to(keys.factors.dtype)  # (N, A, T, R)
    taken, asked = torch.empty_like(asked), asked.to(keys.factors.dtype)
    for some in keys.chunks():
        scale, factors = keys.scale[some, None, None], keys.factors[some, : keys.used]
        scores = _scores(asked[some], by_row[some], to_keys, scale, factors)
        weights = scores.softmax(dim=-1)
        of_rows = (weights.flatten(1, 2) @ factors.transpose(1, 2)).unflatten(1, weights.shape[1:3])
        of_shared = (weights * scale) @ to_values.of_shared.transpose(1, 2)
        of_rows = of_rows.to(values.dtype) @ values[some]
        taken[some] = of_shared.to(values.dtype) + of_rows + to_values.of_constant.transpose(1, 2)
    return attention.out_proj(taken.transpose(1, 2).flatten(2))


def attend_back(layer: TwoWayAttentionBlock, queries: Tensor, tokens: Tensor, keys: Keys, shared: SharedLayer) -> None:
    """The image attends to the tokens, and the keys are normed: new factors and rows, in place."""
    attention, norm = layer.cross_attn_image_to_token, layer.norm4
    asked = heads(attention.k_proj(queries + tokens), attention.num_heads)
    asked = asked / asked.shape[-1] ** 0.5
    by_row = asked @ torch.einsum("nrc,adc->nadr", keys.rows[:, : keys.used], shared.queries.weight)
    asked, by_row = asked.to(keys.factors.dtype), by_row.to(keys.factors.dtype)
    values = heads(attention.v_proj(queries), attention.num_heads)
    before, last = keys.used, keys.used + values.shape[1] * values.shape[2]
    mixed = torch.einsum("natd,adc->natc", values, weight_by_head(attention.out_proj.weight.T, attention.num_heads))
    keys.rows[:, before:last], keys.rows[:, last] = mixed.flatten(1, 2), shared.new_bias
    keys.values, keys.used = [*keys.values, values.to(keys.factors.dtype)], last + 1
    rows = centred(keys.rows[:, : keys.used])
    keys.rows[:, : keys.used] = rows * norm.weight
    products = (rows @ rows.transpose(1, 2) / rows.shape[2]).to(keys.factors.dtype)
    for some in keys.chunks():
        scale, factors = keys.scale[some], keys.factors[some, : keys.used]
        scores = _scores(asked[some], by_row[some], shared.queries, scale[:, None, None], factors[:, :before])
        torch.softmax(scores, dim=2, out=factors[:, before:last].unflatten(1, scores.shape[1:3]))
        factors[:, last] = 1
        variance = _variance(keys, some, products[some], shared.norm)
        deviation = variance.add_(norm.eps).rsqrt_().to(scale.dtype)
        scale.mul_(deviation)
        factors.mul_(deviation[:, None])


def _scores(asked: Tensor, by_row: Tensor, to_heads: Projection, scale: Tensor, factors: Tensor) -> Tensor:
    """(N, A, T, P): tokens' heads (N, A, T, D) times the keys' heads."""
    scores = (asked @ to_heads.of_shared).mul_(scale).add_(asked @ to_heads.of_constant)
    if factors.shape[1]:
        scores.flatten(1, 2).baddbmm_(by_row.flatten(1, 2), factors)
    return scores


def _variance(keys: Keys, some: slice, products: Tensor, norm: SharedNorm) -> Tensor:
    """(N, P): mean square over the channels of the centred keys. products: (N, R, R), of the rows among themselves."""
    scale, factors = keys.scale[some], keys.factors[some, : keys.used]
    with_shared = [norm.by_mask[: keys.of_masks].expand(len(scale), -1, -1)]
    for values, by_head, by_bias in zip(keys.values, norm.by_head, norm.by_bias, strict=True):
        with_shared += [(values[some] @ by_head).flatten(1, 2), by_bias.expand(len(scale), 1, -1)]
    cross = torch.cat(with_shared, dim=1).mul_(scale[:, None] * (2 / keys.rows.shape[2]))
    quadratic = cross.baddbmm_(products, factors).mul_(factors).sum(dim=1, dtype=norm.power.dtype)
    return quadratic.addcmul_(scale.to(norm.power.dtype).square(), norm.power)


def heads(x: Tensor, heads: int) -> Tensor:
    """(N, T, A * D) to (N, A, T, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()


def weight_by_head(weight: Tensor, heads: int) -> Tensor:
    """(A * D, C) to (A, D, C)."""
    return weight.unflatten(0, (heads, -1))


def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)
