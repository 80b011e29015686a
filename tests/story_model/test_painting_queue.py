"""The painting queue: the same pictures as without it, in order, and nothing lost or left hanging."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

import pytest
import torch
from test_painting import features, painter
from torch import Tensor

from story_model.painting_queue import PaintingQueue

PATIENCE_S = 30


class Studio:
    """A fake painter whose pictures show their features and seed, and who can be made to wait."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.delivered: list[tuple[str, float]] = []
        self.may_paint = Event()
        self.may_paint.set()

    def paint(self, given: Tensor, seeds: Sequence[int]) -> Tensor:
        """Give 10 times the features plus the seed."""
        assert self.may_paint.wait(PATIENCE_S)
        self.batches.append(list(seeds))
        return given[:, 0, 0] * 10 + torch.tensor(seeds)

    def deliver(self, key: str, picture: Tensor) -> None:
        """Note down what came."""
        self.delivered.append((key, picture.item()))

    def queue(self, *, batch_size: int = 2, **settings) -> PaintingQueue[str]:
        """Open a queue for this studio."""
        return PaintingQueue(self.paint, self.deliver, batch_size=batch_size, **settings)


def put(queue: PaintingQueue[str], numbers: Sequence[int]) -> None:
    for number in numbers:
        queue.put(f"picture {number}", torch.full((1, 1), float(number)), number)


def started(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_each_key_gets_its_picture_in_order() -> None:
    studio = Studio()
    with studio.queue() as queue:
        put(queue, range(5))
    assert studio.delivered == [(f"picture {number}", 11.0 * number) for number in range(5)]


def test_pictures_are_equal_to_the_byte_to_those_painted_without_a_queue() -> None:
    expected = torch.cat(list(painter(batch_size=2).paint(features(5), range(5))))
    found: list[Tensor] = []
    with PaintingQueue(painter().paint_batch, lambda _, picture: found.append(picture), batch_size=2) as queue:
        for number, given in enumerate(features(5)):
            queue.put(number, given, number)
    assert torch.equal(torch.stack(found), expected)


@pytest.mark.parametrize("who_is_slow", ["teller", "painter"])
def test_batches_are_the_same_whoever_is_slow(who_is_slow) -> None:
    studio = Studio()
    with studio.queue(batch_size=3, max_waiting=10) as queue:
        if who_is_slow == "painter":
            studio.may_paint.clear()
        for number in range(8):
            put(queue, [number])
            if who_is_slow == "teller":
                wait_until(lambda: queue._orders.empty())
        studio.may_paint.set()
    assert studio.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_telling_goes_on_while_a_picture_is_painted_but_not_too_far() -> None:
    studio = Studio()
    studio.may_paint.clear()
    queue = studio.queue(batch_size=1, max_waiting=2)
    put(queue, range(3))  # one is being painted, two wait
    further = started(lambda: put(queue, [3]))
    further.join(0.2)
    assert further.is_alive()
    assert studio.delivered == []
    studio.may_paint.set()
    further.join(PATIENCE_S)
    assert not further.is_alive()
    queue.close()
    assert [key for key, _ in studio.delivered] == [f"picture {number}" for number in range(4)]


def test_after_a_kill_the_same_batches_are_painted_but_for_whole_ones() -> None:
    there = {"picture 0", "picture 1", "picture 2"}
    studio = Studio()
    with studio.queue(is_delivered=there.__contains__) as queue:
        put(queue, range(6))
    assert studio.batches == [[2, 3], [4, 5]]


class _Spilt(BaseException):
    """What a painter raises, derived as an interrupt is."""


def failing_at(batch: list[int], studio: Studio) -> Callable[[Tensor, Sequence[int]], Tensor]:
    def paint(given: Tensor, seeds: Sequence[int]) -> Tensor:
        pictures = studio.paint(given, seeds)
        if list(seeds) == batch:
            raise _Spilt("the colour is spilt")
        return pictures

    return paint


def test_an_error_of_the_painter_reaches_the_teller_at_its_next_picture() -> None:
    studio = Studio()
    queue = PaintingQueue(failing_at([2, 3], studio), studio.deliver, batch_size=2)
    put(queue, range(4))
    wait_until(lambda: queue._error is not None)
    with pytest.raises(_Spilt, match="spilt"):
        put(queue, [4])
    with pytest.raises(_Spilt, match="spilt"):
        queue.close()
    assert [key for key, _ in studio.delivered] == ["picture 0", "picture 1"]


def test_after_an_error_nothing_is_painted() -> None:
    studio = Studio()
    studio.may_paint.clear()
    queue = PaintingQueue(failing_at([0, 1], studio), studio.deliver, batch_size=2, max_waiting=10)
    put(queue, range(6))
    studio.may_paint.set()
    with pytest.raises(_Spilt):
        queue.close()
    assert studio.batches == [[0, 1]]


def test_an_error_in_the_last_batch_is_raised_at_the_end() -> None:
    studio = Studio()
    with pytest.raises(_Spilt), PaintingQueue(failing_at([2], studio), studio.deliver, batch_size=2) as queue:
        put(queue, range(3))
    assert not queue._worker.is_alive()


def test_an_error_of_who_takes_the_pictures_reaches_the_teller_too() -> None:
    def full(key: str, picture: Tensor) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), PaintingQueue(Studio().paint, full, batch_size=1) as queue:
        put(queue, [0])


def test_who_waits_for_room_is_not_left_waiting_when_the_painter_fails() -> None:
    studio = Studio()
    studio.may_paint.clear()
    queue = PaintingQueue(failing_at([0], studio), studio.deliver, batch_size=1, max_waiting=1)
    raised: list[BaseException] = []

    def tell() -> None:
        try:
            put(queue, range(9))
        except _Spilt as error:
            raised.append(error)

    teller = started(tell)
    wait_until(queue._orders.full)
    studio.may_paint.set()
    teller.join(PATIENCE_S)
    assert not teller.is_alive()
    assert len(raised) == 1
    assert studio.batches == [[0]]
    queue.give_up()


def test_an_error_of_the_teller_does_not_wait_for_all_pictures() -> None:
    studio = Studio()
    studio.may_paint.clear()
    threads: list[Thread] = []

    def interrupted() -> None:
        with studio.queue(batch_size=1, max_waiting=10) as queue:
            threads.append(queue._worker)
            put(queue, range(8))
            wait_until(lambda: queue._orders.qsize() == 7)
            started(lambda: (queue._is_given_up.wait(PATIENCE_S), studio.may_paint.set()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert studio.batches == [[0]]
    assert not threads[0].is_alive()


def test_a_closed_queue_takes_no_picture() -> None:
    queue = Studio().queue()
    queue.close()
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        put(queue, [0])
