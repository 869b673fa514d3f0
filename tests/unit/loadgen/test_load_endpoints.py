"""Failover as behind a regional endpoint: own zone first, one probe at a time, back when it works."""

from __future__ import annotations

import pytest

from loadgen.endpoints import ERRORS_MAX, PENALTY_MAX_S, PENALTY_MIN_S, Endpoints

URLS = ("http://a", "http://b", "http://c")


def test_the_own_zone_comes_first_while_it_works() -> None:
    endpoints = Endpoints(URLS)
    for now in range(5):
        assert endpoints.pick(now) == 0
        endpoints.succeeded(0)


def test_a_failed_connection_sends_the_next_operation_elsewhere() -> None:
    endpoints = Endpoints(URLS)
    endpoints.failed(0, 10.0)
    assert endpoints.pick(10.0) == 1
    endpoints.failed(1, 10.0)
    assert endpoints.pick(10.1) == 2


def test_after_its_penalty_exactly_one_operation_tries_an_endpoint_again() -> None:
    endpoints = Endpoints(URLS, probe_s=4)
    endpoints.failed(0, 10.0)
    later = 10.0 + PENALTY_MIN_S
    assert [endpoints.pick(later) for _ in range(4)] == [0, 1, 1, 1]
    endpoints.succeeded(0)
    assert endpoints.pick(later) == 0


def test_a_probe_that_fails_doubles_the_penalty_up_to_a_limit() -> None:
    endpoints = Endpoints(URLS)
    now = 0.0
    for expected in (0.5, 1, 2, 4, PENALTY_MAX_S):
        endpoints.failed(0, now)
        assert endpoints.pick(now + expected - 0.01) == 1
        now += expected
        assert endpoints.pick(now) == 0


def test_operations_that_fail_together_count_once() -> None:
    endpoints = Endpoints(URLS)
    for _ in range(20):
        endpoints.failed(0, 10.0)
    assert endpoints.pick(10.0 + PENALTY_MIN_S) == 0


def test_with_every_endpoint_out_the_one_due_back_soonest_is_used() -> None:
    endpoints = Endpoints(URLS)
    for index, now in ((2, 1.0), (0, 1.1), (1, 1.2)):
        endpoints.failed(index, now)
    assert endpoints.pick(1.3) == 2


def test_a_run_of_server_errors_takes_an_endpoint_out_but_single_ones_do_not() -> None:
    endpoints = Endpoints(URLS)
    for _ in range(3):
        for _ in range(ERRORS_MAX - 1):
            endpoints.errored(0, 1.0)
        endpoints.succeeded(0)
    assert endpoints.pick(1.0) == 0
    for _ in range(ERRORS_MAX):
        endpoints.errored(0, 1.0)
    assert endpoints.pick(1.0) == 1
    assert endpoints.healthy() == [False, True, True]


def test_no_endpoint_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        Endpoints(())
