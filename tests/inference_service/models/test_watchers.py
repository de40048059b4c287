from __future__ import annotations

from inference_service.models.model import Model
from inference_service.models.watchers import Watchers


async def test_a_watcher_that_lags_is_let_go() -> None:
    watchers = Watchers()
    with watchers.watching([]) as changes:
        model = Model("x", watchers.tell)
        for number in range(2_000):
            model.report(str(number))
        heard = [changes.get_nowait() for _ in range(changes.qsize())]
        assert heard[-1] is None
        assert len(heard) < 1_100


async def test_who_comes_after_the_end_is_let_go_at_once() -> None:
    watchers = Watchers()
    watchers.dismiss_all()
    with watchers.watching([Model("x").status]) as changes:
        assert changes.get_nowait() == Model("x").status
        assert changes.get_nowait() is None
