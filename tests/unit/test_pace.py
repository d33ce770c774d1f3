"""Rates and pauses, by a clock of the test's own."""

from __future__ import annotations

import pytest

from jetsonx.deploy.pace import Backoff, Bucket


@pytest.mark.parametrize("per_s", [100.0, 20_000.0, 5e6])
def test_a_bucket_keeps_its_rate_and_wastes_none(per_s: float) -> None:
    bucket, now, sent = Bucket(per_s=per_s), 1000.0, 0
    while now < 1010.0:
        if count := bucket.allowed(now):
            bucket.spend(count)
            sent += count
        else:
            now += max(1e-6, bucket.wait_s())
    assert per_s * 9.8 <= sent <= per_s * 10.2


def test_a_bucket_saves_a_tenth_of_a_second_and_no_more() -> None:
    bucket = Bucket(per_s=1000)
    assert bucket.allowed(5000.0) == 100
    bucket.spend(100)
    assert bucket.allowed(5000.0) == 0
    assert bucket.allowed(9000.0) == 100


def test_without_a_rate_all_may_go() -> None:
    bucket = Bucket(per_s=None)
    bucket.spend(1 << 40)
    assert bucket.allowed(0.0) >= 1 << 20


def test_pauses_double_up_to_the_longest_until_something_arrives() -> None:
    backoff = Backoff()
    assert [backoff.pause_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.pause_s() == 1
