"""The options of Airflow's configuration in the section ``[conductor]``, declared in the provider info."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_provider_conductor.polling.durations import LONGEST

SECTION = "conductor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option whose value is a number.

    Attributes:
        default: None: nothing applies where the option is not set.
        at_least, at_most: smaller and larger values are refused.
    """

    name: str
    description: str
    kind: type[int] | type[float]
    default: int | None = None
    at_least: int = 1
    at_most: float = math.inf
    example: str

    def declared(self) -> dict[str, Any]:
        """As the provider info has it."""
        return {
            "description": self.description,
            "type": "integer" if self.kind is int else "float",
            "version_added": "0.1.0",
            "example": self.example,
            "default": "" if self.default is None else str(self.default),
        }

    def get(self) -> Any:
        """The configured value, or the default.

        Raises:
            ValueError: it is set to something that cannot be used.
        """
        text = configured(self.name)
        if not text:
            return self.default
        try:
            value = self.kind(text)
        except ValueError:
            value = math.nan
        if not self.at_least <= value <= self.at_most:
            what = "a whole number" if self.kind is int else "a number of seconds"
            limit = f", at most {self.at_most:.0f}" if math.isfinite(self.at_most) else ""
            raise ValueError(f"[{SECTION}] {self.name} must be {what}, at least {self.at_least}{limit}, not {text!r}")
        return value


@cache
def configured(name: str) -> str:
    """What Airflow's configuration has, "" for nothing; read once in a process: each operator of a DAG file asks."""
    from airflow.providers.common.compat.sdk import conf

    return str(conf.get(SECTION, name, fallback="") or "").strip()


DEFAULT_TIMEOUT = Option(
    name="default_timeout",
    description="Seconds for the wait of one try, where an operator has no ``timeout``. Empty: no limit. Sensors have "
    "Airflow's own default.",
    kind=float,
    at_most=LONGEST,
    example="86400",
)
DEFAULT_STALL_TIMEOUT = Option(
    name="default_stall_timeout",
    description="Seconds without progress after which a wait ends, where an operator or a sensor has no "
    "``stall_timeout``. Empty: no limit.",
    kind=float,
    at_most=LONGEST,
    example="7200",
)
MAX_OUTPUT_BYTES = Option(
    name="max_output_bytes",
    description="The largest output, in bytes of JSON, that an operator or a sensor writes to XCom, where it has no "
    "``max_output_bytes``.",
    kind=int,
    default=1_048_576,
    example="4194304",
)
POLLS_AT_ONCE = Option(
    name="polls_at_once",
    description="Requests of single waits that a triggerer may have under way at the same time to a connection's "
    "server, and as many of waits at their deadline. Bulk requests do not count.",
    kind=int,
    default=8,
    at_most=100,
    example="16",
)
BULK_ANSWER_BYTES = Option(
    name="bulk_answer_bytes",
    description="The size, in bytes, that the answer to a bulk request of a triggerer should have. Larger answers need "
    "fewer requests, and block the triggerer for longer: 2 MB for about 20 ms.",
    kind=int,
    default=2_000_000,
    at_least=100_000,
    at_most=16_000_000,
    example="4000000",
)

OPTIONS = (DEFAULT_TIMEOUT, DEFAULT_STALL_TIMEOUT, MAX_OUTPUT_BYTES, POLLS_AT_ONCE, BULK_ANSWER_BYTES)


def declared() -> dict[str, Any]:
    """The section as the provider info has it; imports nothing of Airflow."""
    return {
        SECTION: {
            "description": "Defaults and limits of the provider for Conductor.",
            "options": {option.name: option.declared() for option in OPTIONS},
        }
    }
