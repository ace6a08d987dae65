"""No search for garbage while very much is made and nothing thrown away, nor where a process ends.

Importing torch makes so many objects that Python's collector walks over them again and again, and
finds next to nothing: a fifth of the time that the import takes.
"""

from __future__ import annotations

import gc

TYPE_CHECKING = False  # for type checkers it is True; importing typing takes 10 ms
if TYPE_CHECKING:
    from types import TracebackType


class collector_paused:  # noqa: N801  (a context manager that reads like a function)
    """Within it Python's garbage collector does not run by itself, in any thread.

    What was made meanwhile counts as old afterwards, so that the next search for young garbage
    does not walk over it either. Where the collector is off already, nothing is done. Threads may
    overlap: whoever leaves first puts it on again.
    """

    def __enter__(self) -> None:
        self._was_on = gc.isenabled()
        gc.disable()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._was_on:
            return
        if gc.get_freeze_count() == 0:  # or what the program froze would thaw
            gc.freeze()
            gc.unfreeze()  # into the oldest generation
        gc.enable()


def freeze_garbage() -> None:
    """To be called once a process of Ossia's own has loaded its model and goes to work.

    What is there now will stay: the collector does not look at it again, nor does it look for garbage
    among it first. Going through all that torch and a model consist of takes tens of milliseconds, and
    would come in the middle of some request.
    """
    gc.freeze()


def leave_garbage() -> None:
    """To be called where a process ends: what is left is not searched through.

    Python looks at every object once more before it ends. With torch and a tokenizer in memory that
    takes four tenths of a second, and the system takes the memory back anyway.
    """
    gc.disable()
    gc.freeze()
