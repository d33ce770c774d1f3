"""How fast and how often: computed from times that are given."""

from __future__ import annotations

from dataclasses import dataclass

_BURST_S = 0.1


@dataclass(slots=True, kw_only=True)
class Bucket:
    """Lets ``per_s`` bytes a second through, None for any number; a tenth of a second's may be saved up."""

    per_s: float | None
    _saved: float = 0.0
    _then_s: float = 0.0

    def allowed(self, now_s: float) -> int:
        """How many bytes may go at ``now_s``, seconds of a clock that never goes back."""
        if self.per_s is None:
            return 1 << 30
        most = max(1.0, self.per_s * _BURST_S)
        self._saved = min(most, self._saved + (now_s - self._then_s) * self.per_s)
        self._then_s = now_s
        return int(self._saved)

    def spend(self, count: int) -> None:
        """Take ``count`` bytes out that went."""
        if self.per_s is not None:
            self._saved -= count

    def wait_s(self) -> float:
        """How long until it is worth to look again: when a quarter of the burst is there, or one byte."""
        if self.per_s is None:
            return 0.0
        wanted = max(1.0, self.per_s * _BURST_S / 4)
        return max(0.0, (wanted - self._saved) / self.per_s)


@dataclass(slots=True, kw_only=True)
class Backoff:
    """The pauses between attempts: ``first_s``, then twice as long each time up to ``longest_s``."""

    first_s: float = 1.0
    longest_s: float = 30.0
    _next_s: float = 0.0

    def pause_s(self) -> float:
        """The pause before the next attempt."""
        now_s = self._next_s or self.first_s
        self._next_s = min(self.longest_s, 2 * now_s)
        return now_s

    def reset(self) -> None:
        """Begin anew: an attempt came forward."""
        self._next_s = 0.0
