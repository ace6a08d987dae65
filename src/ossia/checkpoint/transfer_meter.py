"""TransferMeter: the hub client's per-file bars as one count of bytes."""

from __future__ import annotations

from huggingface_hub.utils import tqdm

from ossia.types import ProgressCallback


class TransferMeter:
    """One count of bytes over a list of files.

    Args:
        progress: Called with (`what`, bytes done, `total`); None counts in silence.
        total: Bytes of all files.
        what: What is being done to them.
    """

    def __init__(self, progress: ProgressCallback | None, total: int, what: str) -> None:
        self._progress = progress
        self._total = total
        self._what = what
        self._finished = 0
        self._in_file = 0

    def advance(self, in_file: int) -> None:
        """So many bytes of the file at hand are done; never goes backwards."""
        self._in_file = max(self._in_file, in_file)
        self._report()

    def finish_file(self, size: int) -> None:
        """The file at hand is done, or was there already."""
        self._finished += size
        self._in_file = 0
        self._report()

    def bar_class(self) -> type[tqdm]:
        """A bar that shows nothing and reports here.

        The client may open two for one file, bytes received and bytes written: the one that is
        ahead counts.
        """
        meter = self

        class Bar(tqdm):
            def __init__(self, *args: object, **kwargs: object) -> None:
                super().__init__(*args, **(kwargs | {"disable": True}))

            def update(self, n: float | None = 1) -> bool | None:
                self.n += n or 0
                meter.advance(int(self.n))
                return None

        return Bar

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(
                self._what, min(self._finished + self._in_file, self._total), self._total
            )
