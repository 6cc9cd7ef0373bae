from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.statistics.elimination import (
    CANDIDATES,
    Trial,
    futile,
    incumbent,
    next_candidate,
    plateau,
    survivors,
)

NOISE = (-0.004, 0.003, 0.005, -0.004)
Epoch = Callable[[int], float]


def trial(candidate: int, holder: int, ratio: float) -> Trial:
    return Trial(candidate, holder, tuple(math.log(ratio) + noise for noise in NOISE))


def ascend(epoch_s: Epoch, candidates: Sequence[int] = CANDIDATES) -> list[Trial]:
    trials: list[Trial] = []
    while (candidate := next_candidate(trials, candidates)) is not None:
        holder = incumbent(trials, candidates[0])
        trials.append(trial(candidate, holder, epoch_s(candidate) / epoch_s(holder)))
        assert len(trials) < len(candidates)
    return trials


def tried(trials: Sequence[Trial]) -> list[int]:
    return [trial.candidate for trial in trials]


def test_the_first_trial_is_the_second_smallest_against_the_smallest() -> None:
    assert next_candidate([], CANDIDATES) == 1
    assert next_candidate([], [4, 2, 8]) == 4
    assert next_candidate([], [0]) is None
    assert incumbent([], 0) == 0


def test_a_flat_curve_ends_after_two_trials_and_two_jumps() -> None:
    assert tried(ascend(lambda _: 1.0)) == [1, 2, 4, 8]


def test_a_curve_that_gains_is_climbed_to_its_end() -> None:
    trials = ascend(lambda w: 1 / (1 + w))

    assert tried(trials) == list(CANDIDATES[1:])
    assert incumbent(trials, 0) == 64


def test_a_cap_ends_the_ascent() -> None:
    assert tried(ascend(lambda w: 1 / (1 + w), (0, 1, 2, 4))) == [1, 2, 4]


def test_gains_too_small_alone_add_up() -> None:
    steps = {w: 0.975**i for i, w in enumerate(CANDIDATES)}
    trials = ascend(steps.__getitem__)

    assert tried(trials) == list(CANDIDATES[1:])
    assert incumbent(trials, 0) == 64


def test_a_second_hump_is_found_by_a_jump_and_climbed() -> None:
    epochs = dict.fromkeys(CANDIDATES, 1.0) | {0: 2.0, 4: 1.1, 8: 1.1, 16: 0.8, 24: 0.7, 32: 0.8}
    trials = ascend(epochs.__getitem__)

    assert tried(trials)[:5] == [1, 2, 4, 8, 16]
    assert incumbent(trials, 0) == 24


def test_what_a_jump_passed_over_is_tried_beside_the_incumbent() -> None:
    epochs = dict.fromkeys(CANDIDATES, 1.0) | {0: 2.0, 12: 0.8, 16: 0.85}
    trials = ascend(epochs.__getitem__)

    assert tried(trials)[-1] == 12
    assert incumbent(trials, 0) == 12


def test_an_ascent_without_values_ends() -> None:
    failed = [Trial(1, 0, ()), Trial(2, 0, ()), Trial(4, 0, ()), Trial(8, 0, ())]

    assert futile(failed) == [True] * 4
    assert next_candidate(failed, CANDIDATES) is None
    assert survivors(failed) == (0,)


def test_one_turn_proves_nothing_futile() -> None:
    assert futile([Trial(1, 0, (0.2,))]) == [False]


def test_the_spread_of_turns_is_pooled_over_trials() -> None:
    restless = Trial(1, 0, (-0.1, 0.1, -0.1, 0.1))

    assert futile([trial(2, 0, 1.0)]) == [True]
    assert futile([restless, trial(2, 0, 1.0)]) == [False, False]


def test_a_candidate_takes_over_only_with_more_than_the_zone() -> None:
    assert incumbent([trial(1, 0, 0.98)], 0) == 0
    assert incumbent([trial(1, 0, 0.95)], 0) == 1
    assert incumbent([Trial(1, 0, (-0.3, 0.2, -0.2, 0.1))], 0) == 0


def test_who_is_surely_slower_does_not_survive() -> None:
    trials = [trial(1, 0, 0.5), trial(2, 1, 0.5), trial(4, 2, 0.97), trial(8, 2, 1.02)]

    assert survivors(trials) == (2, 4)


def test_a_larger_candidate_survives_if_it_may_gain() -> None:
    trials = [trial(1, 0, 0.5), trial(2, 1, 0.968)]

    assert incumbent(trials, 0) == 2
    assert survivors(trials) == (1, 2)
    unsure = [trial(1, 0, 0.5), Trial(2, 1, (-0.1, 0.02, 0.04, -0.05))]
    assert survivors(unsure) == (1, 2)


@settings(deadline=None)  # scipy is imported by the first call
@given(st.dictionaries(st.sampled_from(CANDIDATES), st.floats(0.2, 5), min_size=2))
def test_the_incumbent_and_the_best_always_survive(epochs: dict[int, float]) -> None:
    candidates = sorted(epochs)
    trials = ascend(epochs.__getitem__, candidates)
    kept = survivors(trials)

    assert incumbent(trials, candidates[0]) in kept
    best_s = min(epochs[w] for w in (candidates[0], *tried(trials)))
    assert min(epochs[w] for w in kept) == pytest.approx(best_s)
    assert list(kept) == sorted(set(kept))


BLOCKS = (0.05, -0.03, 0.0, 0.02, -0.04)


def table(epochs: dict[int, float], spread: float = 0.004) -> dict[int, list[float]]:
    """Blocks that differ by per cents, and arms that differ within them by ``spread``."""
    return {
        w: [math.log(s) + b + spread * math.sin(5 * i + 3 * w) for i, b in enumerate(BLOCKS)]
        for w, s in epochs.items()
    }


def test_the_smallest_member_of_the_plateau_is_recommended() -> None:
    found = plateau(table({0: 2.0, 1: 1.2, 2: 1.01, 4: 1.0, 8: 1.005, 16: 1.3}))

    assert found.members == (2, 4, 8)
    assert found.undecided == ()
    assert found.recommended == 2
    assert found.best in {2, 4, 8}
    assert found.regret_bound is not None
    assert 0.01 < found.regret_bound < 0.03


def test_an_undecided_smaller_arm_is_recommended_with_its_bound() -> None:
    found = plateau(table({1: 1.02, 2: 1.0, 4: 1.0}, spread=0.02))

    assert 1 in found.undecided
    assert found.recommended == 1
    assert found.regret_bound is not None
    assert found.regret_bound > 0.03


def test_nothing_is_recommended_where_nothing_is_known() -> None:
    found = plateau(table({1: 1.0, 2: 1.0, 4: 1.0}, spread=0.3))

    assert found.recommended is None
    assert found.regret_bound is not None
    assert found.regret_bound > 0.06
    assert set(found.undecided) | {found.best} == {1, 2, 4}


def test_too_few_blocks_recommend_nothing() -> None:
    few = {w: values[:4] for w, values in table({1: 1.0, 2: 2.0}).items()}
    found = plateau(few)

    assert (found.best, found.recommended, found.undecided) == (1, None, (1, 2))
    assert plateau(few, min_blocks=4).recommended == 1


def test_only_blocks_with_all_arms_count() -> None:
    values = table({1: 1.0, 2: 2.0, 4: 1.0})
    values[2][3] = math.nan
    values[4] = [math.nan] * 5

    assert plateau(values, min_blocks=4).members == (1,)
    assert plateau(values).recommended is None


def test_a_lone_arm_is_recommended_without_a_bound() -> None:
    found = plateau(table({4: 1.0}))

    assert (found.members, found.recommended, found.regret_bound) == ((4,), 4, None)


def test_no_arm_with_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        plateau({0: [math.nan]})


@settings(deadline=None)  # scipy is imported by the first call
@given(
    st.dictionaries(
        st.integers(0, 64),
        st.lists(st.floats(-1, 1), min_size=5, max_size=5),
        min_size=1,
        max_size=6,
    ),
    st.floats(-5, 5),
)
def test_a_plateau_is_the_same_in_another_unit_of_time(
    logs: dict[int, list[float]], unit: float
) -> None:
    one = plateau(logs)
    other = plateau({w: [value + unit for value in values] for w, values in logs.items()})

    assert one.regret_bound == pytest.approx(other.regret_bound, abs=1e-9)
    assert set(one.members) | set(one.undecided) <= set(logs)
    assert not set(one.members) & set(one.undecided)
    assert one.best in one.members
    assert one.recommended is None or one.recommended <= one.best
