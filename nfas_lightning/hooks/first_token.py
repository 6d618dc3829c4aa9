"""Attention sinks: a first token that a network uses for something else than its content."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nfas_lightning.hooks.pooling import pool_checked, shown_tokens, split_pooling

__all__ = ["FirstToken", "joined_pooling"]

_FAR_ABOVE = 5.0
"""How many times the other tokens' norm makes a sink: in the language models that have one it is 30 to 190 in
their middle blocks; without one, and in networks with random weights, the largest seen is 2."""
_LONGEST_STRIDE = 8


@dataclass(frozen=True)
class _Seen:
    """What a block of the present pass shows of its first token."""

    rest: Tensor
    ratio: Tensor
    n_alone: Tensor


class FirstToken:
    """Pool over tokens, without the first where the network makes an attention sink of it.

    Causal language models park huge activations on the first token, which carry nothing of what it says.
    With them, a mean over K tokens measures 1 / K. A network's first token is a sink if in any block its norm
    is more than five times the median norm of the other tokens, in the median over the stimuli that show
    both. That is decided once, for all blocks, by the first pass in which a stimulus shows its first token
    and another, and holds from then on. A stimulus that shows nothing else keeps its first token.

    Args:
        pooling: see `pool`; ``"mean:all"`` and ``"mean:rest"`` decide beforehand.
        network: its name, for the line that says what was found.
    """

    def __init__(self, pooling: str, network: str) -> None:
        self._pooling, self._network = pooling, network
        self._kind, detail = split_pooling(pooling)
        self.is_left_out: bool | None = {"all": False, "rest": True}.get(detail)
        self._may_leave_out = self._kind in ("auto", "mean", "max")
        self._over_tokens: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._asks = False

    def begin(self, mask: Tensor | None) -> None:
        """Begin a forward pass with this mask (B, K)."""
        self._seen = {}
        self._asks = self._may_leave_out and self.is_left_out is None
        if self._asks and mask is not None:  # of words in context the first token is shown by the first alone
            shown = mask.bool()
            self._asks = bool((shown[:, :_LONGEST_STRIDE].any(dim=1) & (shown.sum(dim=1) > 1)).any())

    def pool(self, key: str, output: Tensor, mask: Tensor | None, layout: str) -> Tensor:
        """Pool a block's output, see `pool_checked`; `settle` has the last word."""
        is_tokens = output.ndim == 3 and layout != "channels_first" and output.is_floating_point()
        if not (is_tokens and self._may_leave_out):
            return pool_checked(output, self._pooling, mask, layout)
        self._over_tokens.add(key)
        if self._asks and output.shape[0 if layout == "sequence_first" else 1] > 1:
            tokens = output.detach().transpose(0, 1) if layout == "sequence_first" else output.detach()
            rest = pool_checked(output, f"{self._kind}:rest", mask, layout)
            self._seen[key] = _look(tokens, shown_tokens(tokens, mask), rest)
        return pool_checked(output, f"{self._kind}:rest" if self.is_left_out else self._kind, mask, layout)

    def settle(self, states: dict[str, Tensor]) -> dict[str, Tensor]:
        """Decide after a pass that shows enough, and return its states (B, D) pooled accordingly.

        Warns:
            UserWarning: the first token is a sink and stays out.
        """
        if self.is_left_out is not None or not self._seen:
            return states
        ratios = torch.stack([seen.ratio.float().cpu() for seen in self._seen.values()])
        if bool(ratios.isnan().all()):
            return states
        largest = int(ratios.nan_to_num(nan=0.0).argmax())
        self.is_left_out = bool(ratios[largest] > _FAR_ABOVE)
        if self.is_left_out:
            self._say(list(self._seen)[largest], max(int(seen.n_alone) for seen in self._seen.values()))
            states = {key: self._seen[key].rest if key in self._seen else states[key] for key in states}
        self._seen = {}
        return states

    def pooling_of(self, key: str) -> str:
        """What the states of a block were pooled with, once it ran: the pooling, with what was decided."""
        if key not in self._over_tokens or self.is_left_out is None:
            return self._pooling
        return f"{self._kind}:{'rest' if self.is_left_out else 'all'}"

    def _say(self, block: str, n_alone: int) -> None:
        alone = (
            " Stimuli of a single token keep it, and are hardly told apart: put single words into a carrier "
            "phrase (carrier='The word is {}')."
        ) * (n_alone > 0)
        warnings.warn(
            f"{self._network} uses the first token as an attention sink (in block {block!r} its norm is more "
            f"than {_FAR_ABOVE:g} times the other tokens'): it stays out of {self._kind!r} pooling over "
            f"tokens, in every block. pooling='{self._kind}:all' keeps it in, '{self._kind}:rest' says that "
            f"this is known.{alone}",
            stacklevel=2,
        )


def joined_pooling(parts: Mapping[str, set[str]]) -> dict[str, str]:
    """Return each block's pooling, given those that parts of one trajectory tell of it.

    A part whose stimuli leave open what becomes of the first token agrees with either answer.

    Raises:
        ValueError: parts were pooled in different ways.
    """
    joined = {}
    for name, told in parts.items():
        closed = {how for how in told if not any(other.startswith(f"{how}:") for other in told)}
        if len(closed) > 1:
            raise ValueError(
                f"Parts of one trajectory were pooled in different ways at {name!r}: {sorted(told)}. Where "
                f"they differ about the first token (an attention sink or not), say which: "
                f"pooling='mean:rest' leaves it out, 'mean:all' keeps it in."
            )
        joined[name] = closed.pop()
    return joined


def _look(tokens: Tensor, shown: Tensor, rest: Tensor) -> _Seen:
    """Compare the norm of the first of tokens (B, K, D) with the others', where (B, K) shows both."""
    norms = torch.linalg.vector_norm(tokens, dim=-1, dtype=torch.promote_types(tokens.dtype, torch.float32))
    others = shown.clone()
    others[:, 0] = False
    typical = norms.masked_fill(~others, torch.nan).nanmedian(dim=1).values
    ratio = (norms[:, 0] / typical).masked_fill(~shown[:, 0] | (typical == 0), torch.nan)
    return _Seen(rest, ratio.nanmedian(), (shown[:, 0] & ~others.any(dim=1)).sum())
