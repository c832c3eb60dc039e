"""Many times to be stirred at, and one timer of the event loop for all of them.

Most attempts end long before their time limit, so to set one and call it off must cost next to nothing.
"""

from math import inf

from outlast.activity import Stirred
from outlast.stores.base import Clock


class Alarms:
    """Stirs each sleeper on the event loop once its time, by the store's clock, has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[Stirred, float] = {}
        self._armed_for = inf

    def ring_at(self, time: float, sleeper: Stirred) -> None:
        self._times[sleeper] = time
        if time < self._armed_for:
            self._arm(time)

    def call_off(self, sleeper: Stirred) -> None:
        self._times.pop(sleeper, None)

    def _arm(self, time: float) -> None:
        # A timer that this one comes before is left to ring in vain.
        self._armed_for = time
        self._clock.alarm(time, self._ring)

    def _ring(self) -> None:
        now, self._armed_for = self._clock.now(), inf
        for sleeper in [sleeper for sleeper, time in self._times.items() if time <= now]:
            del self._times[sleeper]
            sleeper.stir()
        if self._times:
            self._arm(min(self._times.values()))
