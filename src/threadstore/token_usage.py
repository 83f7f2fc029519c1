"""What a thread used: counters of tokens, by model, own and inherited apart."""

from __future__ import annotations

import msgspec

__all__ = ["ThreadUsage", "TokenUsage"]


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counters, of one response or of many; ``one + other`` adds each of them."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Part of the input tokens."""
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    """Part of the output tokens."""
    total_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        pairs = zip(
            self.__struct_fields__,
            msgspec.structs.astuple(self),
            msgspec.structs.astuple(other),
            strict=True,
        )
        return TokenUsage(**{field: mine + theirs for field, mine, theirs in pairs})


class ThreadUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a thread used, by model: each response counts once, in the thread that asked for it.

    ``total_tokens`` is always input and output together. The model is ``unknown`` where the
    history names none.
    """

    own: dict[str, TokenUsage] = {}
    """Of responses that this thread asked for, also in turns that were taken back since."""
    inherited: dict[str, TokenUsage] = {}
    """Of those in the history that it took over from another thread as a fork or a child."""

    @property
    def own_total(self) -> TokenUsage:
        """Own usage of all models."""
        return sum(self.own.values(), TokenUsage())

    @property
    def inherited_total(self) -> TokenUsage:
        """Inherited usage of all models."""
        return sum(self.inherited.values(), TokenUsage())

    @property
    def total(self) -> TokenUsage:
        """Own and inherited usage of all models."""
        return self.own_total + self.inherited_total

    def as_inherited(self) -> ThreadUsage:
        """The same as a fork of the thread sees it."""
        inherited = dict(self.inherited)
        for model, usage in self.own.items():
            inherited[model] = inherited.get(model, TokenUsage()) + usage
        return ThreadUsage(inherited=inherited)
