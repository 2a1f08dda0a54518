"""Hands each task to as many people as its overlap wants, and no more. Run by Label Studio's own Python.

Label Studio 1.23.2 looks at locks and sets one in two steps between which another request may come (with SQLite), and
looks at none where the page sends a filter or an order along, as a link with `?labeling=1` does.
"""

import threading
from collections.abc import Callable
from typing import Any

_one_at_a_time = threading.Lock()  # the server is one process
_next_task: Callable[..., Any] | None = None


def install() -> None:
    """Put `hand_out` in the place of what both routes ask for the next task."""
    global _next_task
    from data_manager.actions import next_task as action
    from projects import api
    from projects.functions import next_task

    _next_task = next_task.get_next_task
    api.get_next_task = action.get_next_task = hand_out


def hand_out(user: Any, prepared_tasks: Any, project: Any, dm_queue: Any, *more: Any, **named: Any) -> Any:
    """`get_next_task` without the tasks that as many others hold, or have done, as their overlap allows."""
    from django.utils.timezone import now

    assert _next_task is not None
    with _one_at_a_time:
        held = prepared_tasks.filter(locks__expire_at__gt=now()).exclude(is_labeled=True).distinct()
        taken = [task.pk for task in held if task.has_lock(user)]
        free = prepared_tasks.exclude(pk__in=taken) if taken else prepared_tasks
        return _next_task(user, free, project, dm_queue, *more, **named)
