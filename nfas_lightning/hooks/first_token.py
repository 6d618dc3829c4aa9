"""Attention sinks: a first token that a network uses for something else than its content."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from nfas_lightning.hooks.pooling import pool_checked, shown_tokens, split_pooling

__all__ = ["FirstToken"]

_FAR_ABOVE = 5.0
"""How many times the other tokens' norm makes a sink: in the language models that have one it is 30 to 190 in
their middle blocks; without one, and in networks with random weights, the largest seen is 2."""
_LONGEST_STRIDE = 8


@dataclass(frozen=True)
class _Seen:
    """What a block of the present pass shows of its first token.

    Attributes:
        state: (B, D) with the first token, which stands for the block.
        rest: (B, D) without it.
        ratio: of the first token's norm to the others', NaN where no stimulus shows both.
        n_alone: stimuli that show the first token alone.
    """

    state: Tensor
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
        # by the identity of their states: a block may be pooled in several ways before one is chosen
        self._pooled: dict[int, Tensor] = {}
        self._seen: dict[int, _Seen] = {}
        self._asks = False

    def begin(self, mask: Tensor | None) -> None:
        """Begin a forward pass with this mask (B, K)."""
        self._pooled, self._seen = {}, {}
        self._asks = self._may_leave_out and self.is_left_out is None
        if self._asks and mask is not None:  # of words in context the first token is shown by the first alone
            shown = mask.bool()
            self._asks = bool((shown[:, :_LONGEST_STRIDE].any(dim=1) & (shown.sum(dim=1) > 1)).any())

    def pool(self, output: Tensor, mask: Tensor | None, layout: str) -> Tensor:
        """Pool a block's output, see `pool_checked`; `settle` has the last word."""
        is_tokens = output.ndim == 3 and layout != "channels_first" and output.is_floating_point()
        if not (is_tokens and self._may_leave_out):
            return pool_checked(output, self._pooling, mask, layout)
        how = f"{self._kind}:rest" if self.is_left_out else self._kind
        state = pool_checked(output, how, mask, layout)
        self._pooled[id(state)] = state  # held, so that no other comes to lie at its address
        if self._asks and output.shape[0 if layout == "sequence_first" else 1] > 1:
            tokens = output.detach().transpose(0, 1) if layout == "sequence_first" else output.detach()
            rest = pool_checked(output, f"{self._kind}:rest", mask, layout)
            self._seen[id(state)] = _Seen(state, rest, *_look(tokens, shown_tokens(tokens, mask)))
        return state

    def settle(self, states: dict[str, Tensor]) -> dict[str, Tensor]:
        """Decide after a pass that shows enough, and return its states (B, D) pooled accordingly.

        Warns:
            UserWarning: the first token is a sink and stays out.
        """
        self._over_tokens |= {key for key, state in states.items() if id(state) in self._pooled}
        seen = {key: self._seen[id(state)] for key, state in states.items() if id(state) in self._seen}
        self._pooled, self._seen = {}, {}
        if not seen:
            return states
        ratios = torch.stack([block.ratio.float().cpu() for block in seen.values()])
        if bool(ratios.isnan().all()):
            return states
        largest = int(ratios.nan_to_num(nan=0.0).argmax())
        self.is_left_out = bool(ratios[largest] > _FAR_ABOVE)
        if not self.is_left_out:
            return states
        self._say(list(seen)[largest], max(int(block.n_alone) for block in seen.values()))
        return {key: seen[key].rest if key in seen else state for key, state in states.items()}

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


def _look(tokens: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the norm of the first of tokens (B, K, D) with the others', where (B, K) shows both.

    Returns:
        The median over stimuli of the ratio of its norm to the median of the others', NaN where none shows
        both; and how many stimuli show the first alone.
    """
    norms = torch.linalg.vector_norm(tokens, dim=-1, dtype=torch.promote_types(tokens.dtype, torch.float32))
    others = shown.clone()
    others[:, 0] = False
    typical = norms.masked_fill(~others, torch.nan).nanmedian(dim=1).values
    ratio = (norms[:, 0] / typical).masked_fill(~shown[:, 0] | (typical == 0), torch.nan)
    return ratio.nanmedian(), (shown[:, 0] & ~others.any(dim=1)).sum()
