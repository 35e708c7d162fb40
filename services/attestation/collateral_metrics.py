"""How old the collateral is, and when it is over (side: host)."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from common.untrusted.collateral_service import CollateralService
from common.untrusted.metrics import gauge

_LABEL: Final = "collateral"


class CollateralMetrics:
    """Of every set that is stored, by kind of CPU, which is public."""

    def __init__(self, service: CollateralService, *, now: Callable[[], float] = time.time) -> None:
        self._service, self._now = service, now

    def __call__(self) -> Iterator[Metric]:
        """Age, and what is left; below 0 it is no longer handed out."""
        stored, now = self._service.stored(), self._now()
        ages = {str(one.name): now - one.obtained for one in stored}
        left = {str(one.name): self._service.seconds_left(one) for one in stored}
        yield gauge("cloister_collateral_age_seconds", "Since a set of collateral was obtained.", _LABEL, ages)
        yield gauge("cloister_collateral_seconds_left", "How long a set is handed out yet.", _LABEL, left)
