"""How many failures a batch allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """When a batch has failed.

    ==================  ===============================================
    policy              the batch fails if
    ==================  ===============================================
    ``"any"``           any of its workflows has failed
    ``"all"``           all of them have
    0.05 (a share)      more than this share of all of them has
    ==================  ===============================================
    """

    policy: str | float

    @classmethod
    def of(cls, value: object) -> FailurePolicy:
        """Read what a user gave; a template renders a share as text.

        Raises:
            ValueError: neither "any" nor "all", nor a share from 0 on and below 1.
        """
        if value in ("any", "all"):
            return cls(str(value))
        try:
            share = float(str(value))
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise ValueError(
                "failure_policy must be 'any' (fail if any workflow failed), 'all' (only if all did) or a share from 0 "
                f"on and below 1 that may fail, such as 0.05; not {value!r}"
            )
        return cls(share)

    def broken(self, failed: int, total: int) -> bool:
        """Whether so many failures of so many workflows are too many."""
        if self.policy == "any":
            return failed > 0
        if self.policy == "all":
            return 0 < total <= failed
        return failed > float(self.policy) * total

    def __str__(self) -> str:
        if self.policy == "any":
            return "failure_policy 'any': none may fail"
        if self.policy == "all":
            return "failure_policy 'all': one must complete"
        return f"failure_policy {self.policy:g}: up to {float(self.policy):.4g} of all may fail"
