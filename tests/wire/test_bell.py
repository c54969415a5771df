"""The bell that wakes a polling thread."""

import threading

import zmq

from twinloop.wire.bell import Bell


def test_each_ring_after_an_answer_wakes_however_fast_they_follow() -> None:
    context = zmq.Context()
    bell = Bell(context)
    for _ in range(2000):
        bell.ring()
        bell.ring()
        assert bell.socket.poll(1000) == zmq.POLLIN
        bell.answer()
        assert bell.socket.poll(0) == 0
    bell.close()
    context.term()


def test_what_is_laid_down_before_a_ring_from_another_thread_is_found_after_the_answer() -> None:
    context = zmq.Context()
    bell = Bell(context)
    laid: list[int] = []

    def lay() -> None:
        for n in range(5000):
            laid.append(n)
            bell.ring()

    thread = threading.Thread(target=lay)
    thread.start()
    found = 0
    while found < 5000:
        assert bell.socket.poll(5000) == zmq.POLLIN, f"no ring after {found} of {len(laid)}"
        bell.answer()
        found = len(laid)
    thread.join()
    bell.close()
    bell.ring()
    context.term()
