"""The deadman's button: messages of a button or pedal in, whether the arm may move out.

It must be pressed, and said to be so again and again: silence is a released button, whether a cable broke or a person fell.
Times are nanoseconds of a steady clock, when messages arrived; a button's own stamps come from another machine's clock.
"""

from collections.abc import Collection

from worldagen.errors import ConfigError

MODES = ("never", "as_needed", "always")


class Deadman:
    """What the button said last, and when it is needed.

    mode: always: whatever plays; never: there is no button; as_needed: while somebody requires it (an exploration), and for
    chunks of an adapter that is not trusted yet. The base network is trusted.
    """

    def __init__(self, mode: str = "as_needed", timeout_s: float = 0.3, trusted_adapters: Collection[str] = ()) -> None:
        """trusted_adapters: adapter ids that may move the arm without a button. Raises ConfigError for an unknown mode or a
        timeout that is not above 0."""
        if mode not in MODES:
            raise ConfigError(f"the deadman's mode is {mode!r}; choose one of: {', '.join(MODES)}")
        if not timeout_s > 0.0:
            raise ConfigError(f"the deadman's timeout is {timeout_s} s; expected more than 0")
        self._mode, self._timeout_ns, self._trusted = mode, round(timeout_s * 1e9), frozenset(trusted_adapters)
        self._pressed, self._heard_ns = False, 0
        self._wanted = False

    def hear(self, pressed: bool, now_ns: int) -> None:
        """A message of the button arrived."""
        self._pressed, self._heard_ns = pressed, now_ns

    def require(self, wanted: bool) -> None:
        """Somebody requires the button from now on, or no longer does; kept until said otherwise."""
        self._wanted = wanted

    def held(self, now_ns: int) -> bool:
        """Whether the button is pressed, as far as is known."""
        return self._pressed and 0 <= now_ns - self._heard_ns <= self._timeout_ns

    def required(self, adapter: str) -> bool:
        """Whether the button must be held while chunks of that adapter play; "": of the base network."""
        if self._mode == "as_needed":
            return self._wanted or (adapter != "" and adapter not in self._trusted)
        return self._mode == "always"

    def allows(self, adapter: str, now_ns: int) -> bool:
        """Whether chunks of that adapter may move the arm now."""
        return self.held(now_ns) or not self.required(adapter)
