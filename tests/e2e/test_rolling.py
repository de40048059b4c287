"""Every process is restarted under load, one after the other, and no request fails (`make rolling-check`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.e2e.rolling import ORDER, People, running_fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PEOPLE = 6
# Enough that each kind of request is in the middle when a process is told to leave.
BETWEEN = 12


async def test_a_rolling_restart_fails_no_request() -> None:
    # Not below pytest's own folder, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="jan-roll-") as folder:
        async with running_fleet(Path(folder)) as fleet:
            people = People(fleet)
            async with people.asking(PEOPLE):
                for name in ORDER:
                    await people.until_answered(BETWEEN)
                    before = people.retried.copy()
                    seconds = await fleet.stop(name)
                    await fleet.start(name)
                    await people.until_answered(BETWEEN)
                    print(f"{name} left in {seconds:.1f} s; sent again: {dict(people.retried - before) or 'nothing'}")
                    assert people.failures == [], "\n".join(map(fleet.log, ORDER))
                    if name not in ("storage", "redis"):
                        assert people.retried == before
    print(f"{people.answered} requests were answered, none failed")
