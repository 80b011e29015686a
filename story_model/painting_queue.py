"""Painting beside telling: pictures are handed over as they are told, and painted in a thread of their own.

What is told next depends on a picture's features, never on its pixels; so nobody waits for them but at the end. A
thread does, since torch lets go of the interpreter while it computes; on one GPU the two still share its time.

Batches are consecutive pictures in the order in which they were handed over, whatever the speed of either side. Who
hands the same pictures over in the same order, say after a kill, gets the same batches, and results equal to the byte.
"""

from collections.abc import Callable, Sequence
from queue import Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")


class _Order(NamedTuple, Generic[Key]):
    key: Key
    features: Tensor
    seed: int


class PaintingQueue(Generic[Key]):
    """Paints in the background what one thread puts into it; as a context it ends when everything is painted."""

    def __init__(
        self,
        paint: Callable[[Tensor, Sequence[int]], Tensor],
        deliver: Callable[[Key, Tensor], None],
        *,
        batch_size: int,
        is_delivered: Callable[[Key], bool] = lambda key: False,
        max_waiting: int | None = None,
    ) -> None:
        """Take what paints and who gets the pictures, both of which the thread has to itself.

        Args:
            paint: features (B, F, D) and B seeds -> B pictures, as `Painter.paint_batch`.
            deliver: is given each key and picture, in the order of `put`.
            batch_size: pictures painted at once; the last batch may be smaller.
            is_delivered: tells whether a key's picture exists; a batch all of whose pictures do is not painted.
            max_waiting: pictures that may wait before `put` does; none: two batches.
        """
        self._paint = paint
        self._deliver = deliver
        self._is_delivered = is_delivered
        self._batch_size = batch_size
        self._orders: Queue[_Order[Key] | None] = Queue(max_waiting or 2 * batch_size)
        self._error: BaseException | None = None
        self._is_given_up = Event()
        self._is_closed = False
        self._worker = Thread(target=self._work, name="painting", daemon=True)
        self._worker.start()

    def put(self, key: Key, features_FD: Tensor, seed: int) -> None:
        """Hand a picture over; waits while too many do.

        Raises:
            ValueError: the queue is closed.
            BaseException: whatever stopped the painting, of an earlier picture.
        """
        if self._is_closed:
            raise ValueError("this painting queue is closed; pictures go into a new one")
        self._raise_error()
        self._orders.put(_Order(key, features_FD, seed))
        self._raise_error()

    def close(self) -> None:
        """Paint what waits and stop; raises what stopped the painting, if something did."""
        self._end()
        self._raise_error()

    def give_up(self) -> None:
        """Stop after the batch that is being painted; what waits is dropped, and nothing raised."""
        self._is_given_up.set()
        self._end()

    def __enter__(self) -> Self:
        """Give the queue."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error give up, so that the error is not kept waiting."""
        if error is None:
            self.close()
        else:
            self.give_up()

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._orders.put(None)
        self._worker.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        batch: list[_Order[Key]] = []
        while (order := self._orders.get()) is not None:
            batch.append(order)
            if len(batch) == self._batch_size:
                self._attempt(batch)
                batch = []
        self._attempt(batch)

    def _attempt(self, batch: Sequence[_Order[Key]]) -> None:
        """Paint a batch; once that failed, what is put is dropped, so that nobody waits for room that no one makes."""
        if not batch or self._error is not None or self._is_given_up.is_set():
            return
        try:
            self._paint_batch(batch)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who is told at its next call
            self._error = error

    def _paint_batch(self, batch: Sequence[_Order[Key]]) -> None:
        if all(self._is_delivered(order.key) for order in batch):
            return
        pictures = self._paint(torch.stack([order.features for order in batch]), [order.seed for order in batch])
        for order, picture in zip(batch, pictures, strict=True):
            self._deliver(order.key, picture)
