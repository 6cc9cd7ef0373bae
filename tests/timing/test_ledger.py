import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.phase import LOADING, REMAINING, TRAINING, Phase
from laptime.timing.clock import FakeClock
from laptime.timing.ledger import HostLedger, LedgerError, check_identity

PHASES = tuple(Phase)
NUM_SCHEDULES = 100_000


class PlantedError(Exception):
    """What a schedule raises inside a phase."""


class Account:
    """A ledger, and beside it what each phase should hold, kept by the test."""

    def __init__(self, start_ns: int) -> None:
        self.clock = FakeClock(start_ns)
        self.ledger = HostLedger(self.clock.read_ns)
        self.expected_ns = dict.fromkeys(PHASES, 0)

    def spend(self, phase: Phase, duration_ns: int) -> None:
        self.clock.advance_ns(duration_ns)
        self.expected_ns[phase] += duration_ns

    def inside(self, outer: Phase, inner: Phase, duration_ns: int, *, raises: bool) -> None:
        """Spend time in a boundary that nests in a phase and may end with an exception."""
        found = self.ledger.enter(inner)
        assert found is outer
        try:
            self.spend(inner, duration_ns)
            if raises:
                raise PlantedError
        finally:
            assert self.ledger.enter(found) is inner

    def assert_exact(self) -> None:
        wall_ns, phases_ns = self.ledger.stop()
        assert wall_ns == self.clock.now_ns - self.ledger.start_ns
        assert phases_ns == self.expected_ns
        check_identity(wall_ns, phases_ns)


def test_each_phase_is_charged_its_own_time() -> None:
    clock = FakeClock()
    ledger = HostLedger(clock.read_ns)
    for phase, duration_ns in ((Phase.FORWARD, 2_000), (Phase.BACKWARD, 3_000)):
        ledger.enter(phase)
        clock.advance_ns(duration_ns)

    wall_ns, spent_ns = ledger.stop()

    assert wall_ns == 5_000
    assert {phase: ns for phase, ns in spent_ns.items() if ns} == {
        Phase.FORWARD: 2_000,
        Phase.BACKWARD: 3_000,
    }


def test_time_before_the_first_transition_belongs_to_the_phase_it_starts_in() -> None:
    clock = FakeClock(50)
    ledger = HostLedger(clock.read_ns, Phase.LOADER_START)
    clock.advance_ns(7)
    ledger.enter(Phase.FORWARD)
    assert ledger.spent_ns()[Phase.LOADER_START] == 7
    assert ledger.start_ns == 50


def test_every_phase_is_present_when_none_was_entered() -> None:
    wall_ns, spent_ns = HostLedger(FakeClock().read_ns).stop()
    assert wall_ns == 0
    assert spent_ns == dict.fromkeys(PHASES, 0)


def test_a_transition_reads_the_clock_once() -> None:
    clock = FakeClock()
    ledger = HostLedger(clock.read_ns)
    before = clock.num_reads
    ledger.enter(Phase.FORWARD)
    assert clock.num_reads == before + 1


def test_looking_at_a_ledger_reads_no_clock() -> None:
    clock = FakeClock()
    ledger = HostLedger(clock.read_ns)
    ledger.enter(Phase.FORWARD)
    clock.advance_ns(5)
    before = clock.num_reads
    assert (ledger.now_ns, ledger.phase) == (0, Phase.FORWARD)
    assert sum(ledger.spent_ns().values()) == 0
    assert clock.num_reads == before


def test_what_a_caller_does_to_the_phases_does_not_reach_the_ledger() -> None:
    ledger = HostLedger(FakeClock().read_ns)
    ledger.spent_ns()[Phase.FORWARD] = 5
    assert ledger.spent_ns()[Phase.FORWARD] == 0


def test_a_nested_boundary_gives_back_the_phase_it_found() -> None:
    account = Account(0)
    account.ledger.enter(Phase.OPTIMIZER)
    account.spend(Phase.OPTIMIZER, 10)
    account.inside(Phase.OPTIMIZER, Phase.FORWARD, 20, raises=False)
    account.spend(Phase.OPTIMIZER, 30)
    assert account.ledger.phase is Phase.OPTIMIZER
    account.assert_exact()


def test_an_exception_leaves_a_nested_boundary_as_a_return_does() -> None:
    account = Account(0)
    account.ledger.enter(Phase.OPTIMIZER)
    with pytest.raises(PlantedError):
        account.inside(Phase.OPTIMIZER, Phase.BACKWARD, 20, raises=True)
    account.spend(Phase.OPTIMIZER, 30)
    account.assert_exact()


def test_the_next_that_ends_an_iterator_is_charged_to_the_end_of_the_loader() -> None:
    account = Account(0)
    _exhaust(account, [3, 0, 4], 9)
    assert account.expected_ns[Phase.DATA_WAIT] == 7
    assert account.expected_ns[Phase.LOADER_END] == 9
    account.assert_exact()


def test_columns_hold_every_phase_once() -> None:
    assert sorted((*LOADING, *TRAINING, *REMAINING)) == sorted(PHASES)


@pytest.mark.parametrize(
    ("wall_ns", "phases_ns"),
    [
        (10, {Phase.FORWARD: 9}),
        (10, {Phase.FORWARD: 11}),
        (10, {Phase.FORWARD: 11, Phase.BACKWARD: -1}),
    ],
)
def test_phases_that_do_not_sum_to_the_wall_are_refused(
    wall_ns: int, phases_ns: dict[Phase, int]
) -> None:
    with pytest.raises(LedgerError, match=f"the wall to {wall_ns} ns"):
        check_identity(wall_ns, phases_ns)


def test_random_schedules_keep_the_identity_to_the_nanosecond() -> None:
    """Flat, nested, raising and empty pieces, and iterators that end, 100,000 times."""
    rng = random.Random(20_240_607)
    for _ in range(NUM_SCHEDULES):
        bits = rng.getrandbits(64)
        account = Account(bits & 0xFFFF)
        _run_pieces(account, bits >> 16)
        account.assert_exact()


def _run_pieces(account: Account, bits: int) -> None:
    """Run three pieces; 16 bits decide the kind, the phases and the duration of each."""
    for shift in (0, 16, 32):
        piece = bits >> shift
        outer, inner = PHASES[(piece >> 2) % 12], PHASES[(piece >> 6) % 12]
        duration_ns = (piece >> 10) & 0x3F  # zero in one of 64
        kind = piece & 3
        if kind == 0:
            _exhaust(account, [duration_ns, 0], duration_ns >> 1)
            continue
        account.ledger.enter(outer)
        account.spend(outer, duration_ns)
        if kind > 1:
            with suppress(PlantedError):
                account.inside(outer, inner, duration_ns >> 1, raises=kind == 3)
            account.spend(outer, duration_ns >> 2)


def _exhaust(account: Account, waits_ns: list[int], last_ns: int) -> None:
    """Take every batch of a generator that takes its time, the end of it included."""

    def batches():
        for wait_ns in waits_ns:
            account.spend(Phase.DATA_WAIT, wait_ns)
            yield wait_ns
        account.spend(Phase.LOADER_END, last_ns)

    iterator = batches()
    for _ in waits_ns:
        account.ledger.enter(Phase.DATA_WAIT)
        next(iterator)
    account.ledger.enter(Phase.LOADER_END)
    assert next(iterator, None) is None
    account.ledger.enter(Phase.OTHER)


DURATION = st.integers(0, 10**13)
TREES = st.recursive(
    st.tuples(st.sampled_from(PHASES), DURATION, st.just([]), st.booleans()),
    lambda children: st.tuples(
        st.sampled_from(PHASES), DURATION, st.lists(children, max_size=4), st.booleans()
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(TREES, max_size=6), st.integers(0, 2**62))
def test_boundaries_nested_to_any_depth_keep_the_identity(trees: list, start_ns: int) -> None:
    account = Account(start_ns)
    for tree in trees:
        try:
            _visit(account, tree)
        except PlantedError:
            assert account.ledger.phase is Phase.OTHER
    account.assert_exact()


def _visit(account: Account, tree: tuple) -> None:
    phase, duration_ns, children, raises = tree
    found = account.ledger.enter(phase)
    try:
        account.spend(phase, duration_ns)
        for child in children:
            _visit(account, child)
        account.spend(phase, duration_ns // 3)
        if raises:
            raise PlantedError
    finally:
        account.ledger.enter(found)
