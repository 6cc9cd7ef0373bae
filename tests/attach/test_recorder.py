import json
import weakref
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laptime.attach.backlog import Backlog
from laptime.attach.book import Book
from laptime.attach.found import Found
from laptime.attach.journal import Journal
from laptime.attach.recorder import Recorder
from laptime.phase import Phase
from laptime.timing.clock import FakeClock, FakeDeviceClock
from laptime.timing.windows import EventTimer, WindowPolicy

MS = 1_000_000


class Iterator:
    """Stands for a loader's iterator: something that can be let go."""


class Memory:
    """A journal that keeps what it is told."""

    def __init__(self):
        self.rows = {"epochs.jsonl": [], "windows.jsonl": [], "steps.jsonl": []}
        self.facts = {}
        self.path = "memory"

    def append(self, name, rows):
        self.append_lines(name, [json.dumps(row) for row in rows])

    def append_lines(self, name, lines):
        self.rows[name] += [json.loads(line) for line in lines]

    def write_facts(self, facts):
        self.facts = facts


class Script:
    """A script as the recorder sees it, in time that moves when told.

    ``late``: what its hooks see is followed after so many notes, 0: at once.
    """

    late = 0

    def __init__(self, loaders=2, optimizers=1, batches=None, late=None):
        self.clock, self.journal = FakeClock(), Memory()
        self.found = Found()
        for _ in range(loaders):
            self.found.loaders.append({
                "training_passes": 0, "evaluation_passes": 0, "start_ns": [], "end_ns": [],
                "batch_size": 32, "batches": batches, "read_at": None,
            })  # fmt: skip
        self.optimizers = [{"steps": 0, "stepped_at": None} for _ in range(optimizers)]
        self.found.optimizers += self.optimizers
        self.recorder = Recorder(Book(lambda: self.journal, self.found, 0), self.clock.read_ns)
        self.recorder.thread = __import__("threading").get_ident()
        self.late = self.late if late is None else late
        self.recorder.may_wait = self.late > 0
        self.recorder.catch_up()
        self.kept, self.over, self.told = [], [], 0

    def tell(self, what, *args):
        self.recorder.tell((what, self.clock.read_ns(), args))
        self.told += 1
        if self.late and self.told % self.late == 0:
            self.recorder.catch_up()

    def spend(self, milliseconds):
        self.clock.advance_ns(milliseconds * MS)

    def iter(self, loader=0, start=1):
        one = self.recorder.loader_started(loader)
        self.spend(start)
        self.kept.append(Iterator())
        self.recorder.loader_ready(one, self.kept[-1])
        return one

    def next(self, one, wait=2, length=None):
        self.tell(Recorder.fetching, one)
        self.spend(wait)
        self.tell(Recorder.fetched, one, length)

    def end(self, one, wait=1):
        self.tell(Recorder.fetching, one)
        self.spend(wait)
        self.tell(Recorder.exhausted, one)
        self.over.append(one)

    def let_go(self):
        self.kept.clear()

    def forward(self, milliseconds=3, answers_only=False):
        self.tell(Recorder.root_asked if answers_only else Recorder.root_called)
        self.spend(milliseconds)
        if answers_only:
            self.tell(Recorder.root_answered)

    def backward(self, milliseconds=4, loss=1.0):
        self.tell(Recorder.backward_started, loss)
        self.spend(milliseconds)
        self.tell(Recorder.backward_ended)

    def update(self, milliseconds=5, optimizer=0):
        self.update_starts(optimizer)
        self.spend(milliseconds)
        self.update_ends(optimizer)

    def update_starts(self, optimizer=0):
        self.tell(Recorder.optimizer_started, self.optimizers[optimizer])

    def update_ends(self, optimizer=0):
        self.tell(Recorder.optimizer_ended, self.optimizers[optimizer])

    def save(self, milliseconds):
        self.tell(Recorder.saving)
        self.spend(milliseconds)
        self.tell(Recorder.saved)

    def step(self):
        self.forward()
        self.backward()
        self.update()

    def train(self, loader=0, steps=3):
        one = self.iter(loader)
        for _ in range(steps):
            self.next(one)
            self.step()
        self.end(one)

    def evaluate(self, loader=1, batches=2, answers_only=True):
        one = self.iter(loader)
        for _ in range(batches):
            self.next(one)
            self.forward(answers_only=answers_only)
        self.end(one)

    def close(self):
        self.recorder.close("exit")
        return self.journal.rows["epochs.jsonl"]


@pytest.fixture(params=[0, 1, 7, 1_000_000], autouse=True)
def late(request, monkeypatch):
    """Everything holds whether it is followed at once or later, at whatever moments."""
    monkeypatch.setattr(Script, "late", request.param)


def milliseconds(epoch):
    return {name: ns / MS for name, ns in epoch["phases_ns"].items() if ns}


def test_the_phases_of_a_plain_epoch_are_charged_their_own_time():
    script = Script()
    script.train(steps=3)
    (epoch,) = script.close()
    assert milliseconds(epoch) == {
        "loader_start": 3, "data_wait": 4, "forward": 9, "backward": 12, "optimizer": 15,
        "loader_end": 1,
    }  # fmt: skip
    assert (epoch["steps"], epoch["complete"], epoch["loss"]) == (3, True, 1.0)


def test_forward_goes_on_until_backward_because_the_loss_belongs_to_it():
    script = Script()
    one = script.iter()
    script.next(one)
    script.forward(3)
    script.spend(7)
    script.backward()
    script.update()
    script.end(one)
    (epoch,) = script.close()
    assert milliseconds(epoch)["forward"] == 10


def test_what_no_boundary_explains_stays_in_other_with_what_it_follows():
    script = Script()
    one = script.iter()
    for _ in range(2):
        script.next(one)
        script.spend(10)
        script.step()
        script.spend(20)
    script.end(one)
    (epoch,) = script.close()
    assert milliseconds(epoch)["other"] == 60
    other = {row["after"]: row["ns"] / MS for row in script.journal.facts["other"]}
    assert other == {"loading": 20, "optimizer": 40}


def test_an_evaluation_belongs_to_the_epoch_before_with_its_loading():
    script = Script()
    for _ in range(2):
        script.train()
        script.evaluate()
    epochs = script.close()
    assert [milliseconds(epoch)["evaluation"] for epoch in epochs] == [12, 12]
    assert [epoch["evaluations"] for epoch in epochs] == [1, 1]
    assert script.found.loaders[1]["evaluation_passes"] == 2
    assert [milliseconds(epoch)["loader_start"] for epoch in epochs] == [3, 3]


def test_an_evaluation_that_forgets_no_grad_is_found_at_its_end():
    script = Script()
    for _ in range(2):
        script.train()
        script.evaluate(answers_only=False)
    epochs = script.close()
    assert [milliseconds(epoch)["evaluation"] for epoch in epochs] == [12, 12]


def test_an_evaluation_in_the_middle_of_an_epoch_does_not_end_it():
    script = Script()
    one = script.iter()
    for number in range(4):
        script.next(one)
        script.step()
        if number == 1:
            script.evaluate()
    script.end(one)
    (epoch,) = script.close()
    assert epoch["steps"] == 4
    assert milliseconds(epoch)["evaluation"] == 12


def test_an_evaluation_in_the_middle_that_forgets_no_grad_does_not_end_it_either():
    script = Script()
    one = script.iter()
    for number in range(4):
        script.next(one)
        script.step()
        if number == 1:
            script.evaluate(answers_only=False)
    script.end(one)
    (epoch,) = script.close()
    assert (epoch["steps"], milliseconds(epoch)["evaluation"]) == (4, 12)


def test_an_evaluation_that_is_left_early_ends_when_the_outer_loop_goes_on():
    script = Script()
    one = script.iter()
    script.next(one)
    script.step()
    inner = script.iter(1)
    script.next(inner)
    script.forward(answers_only=True)
    script.next(one)
    script.step()
    script.end(one)
    (epoch,) = script.close()
    assert milliseconds(epoch)["evaluation"] == 6
    assert milliseconds(epoch)["data_wait"] == 2


def test_what_comes_before_the_first_epoch_is_set_up():
    script = Script()
    script.spend(100)
    script.evaluate()
    script.train()
    (epoch,) = script.close()
    assert epoch["wall_ns"] == 44 * MS
    assert script.journal.facts["setup_ns"] == 112 * MS


def test_what_comes_after_the_last_boundary_belongs_to_no_epoch():
    script = Script()
    script.train()
    script.spend(1000)
    (epoch,) = script.close()
    assert epoch["wall_ns"] == 44 * MS


def test_accumulated_gradients_are_one_step():
    script = Script()
    one = script.iter()
    for _ in range(2):
        for _ in range(4):
            script.next(one)
            script.forward()
            script.backward(loss=0.25)
        script.update()
    script.end(one)
    (epoch,) = script.close()
    assert (epoch["steps"], epoch["loss"]) == (2, 1.0)


def test_batches_that_no_step_follows_are_samples_of_the_epoch_all_the_same():
    script = Script()
    for _ in range(2):
        one = script.iter()
        for number in range(5):
            script.next(one, length=6)
            script.forward()
            script.backward()
            if number % 2:
                script.update()
        script.end(one)
    epochs = script.close()
    assert [(epoch["steps"], epoch["samples"]) for epoch in epochs] == [(2, 30), (2, 30)]


def test_the_two_updates_of_a_gan_are_one_step_with_a_loader():
    script = Script(optimizers=2)
    one = script.iter()
    for _ in range(3):
        script.next(one)
        script.step()
        script.forward()
        script.backward()
        script.update(optimizer=1)
    script.end(one)
    (epoch,) = script.close()
    assert (epoch["steps"], epoch["loss"]) == (3, 2.0)


def test_without_a_loader_two_optimizers_in_turn_are_one_step():
    script = Script(loaders=0, optimizers=2)
    for _ in range(5):
        script.step()
        script.forward()
        script.backward()
        script.update(optimizer=1)
    (epoch,) = script.close()
    assert (epoch["steps"], epoch["loader"]) == (5, None)


def test_without_a_loader_there_is_one_epoch_from_the_first_boundary():
    script = Script(loaders=0)
    script.spend(50)
    for _ in range(4):
        script.step()
        script.spend(1)
    (epoch,) = script.close()
    assert epoch["steps"] == 4
    assert epoch["wall_ns"] == (4 * 12 + 3) * MS


def test_a_closure_inside_the_optimizers_step_is_forward_and_backward():
    script = Script()
    one = script.iter()
    script.next(one)
    script.update_starts()
    for _ in range(3):
        script.spend(1)
        script.forward(2)
        script.backward(3, loss=7.0)
    script.spend(1)
    script.update_ends()
    script.end(one)
    (epoch,) = script.close()
    found = milliseconds(epoch)
    assert (found["forward"], found["backward"], found["optimizer"]) == (6, 9, 4)
    assert (epoch["steps"], epoch["loss"]) == (1, 7.0)


def test_a_step_that_a_gradscaler_skips_is_an_attempt():
    script = Script()
    one = script.iter()
    for skipped in (False, True, False):
        script.next(one)
        script.forward()
        script.backward()
        script.update_starts()
        if not skipped:
            script.update()
        script.update_ends()
    script.end(one)
    (epoch,) = script.close()
    assert epoch["steps"] == 3


def test_two_loaders_read_side_by_side_are_one_epoch():
    script = Script()
    for _ in range(2):
        first, second = script.iter(0), script.iter(1)
        for _ in range(3):
            script.next(first)
            script.next(second)
            script.step()
        script.end(first)
    epochs = script.close()
    assert [(epoch["steps"], epoch["loader"]) for epoch in epochs] == [(3, 0), (3, 0)]
    assert "evaluation" not in milliseconds(epochs[0])


def test_a_loader_that_was_looked_into_before_is_not_taken_for_the_epochs():
    script = Script()
    looked = script.iter(1)
    script.next(looked)
    script.train(0)
    (epoch,) = script.close()
    assert epoch["loader"] == 0


def test_samples_that_were_looked_at_before_are_not_the_epochs():
    script = Script()
    looked = script.iter(1)
    script.next(looked, length=32)
    one = script.iter(0)
    for _ in range(2):
        script.next(one, length=32)
        script.step()
    script.end(one)
    (epoch,) = script.close()
    assert epoch["samples"] == 64


def test_a_framework_that_reads_one_batch_ahead_keeps_its_last_step():
    script = Script()
    for _ in range(2):
        one = script.iter()
        script.next(one)
        for _ in range(2):
            script.next(one)
            script.step()
        script.end(one)
        script.step()
        script.evaluate()
    epochs = script.close()
    assert [epoch["steps"] for epoch in epochs] == [3, 3]


def test_an_epoch_that_is_left_early_is_not_whole():
    script = Script()
    for _ in range(2):
        one = script.iter()
        script.next(one)
        script.step()
    epochs = script.close()
    assert [epoch["complete"] for epoch in epochs] == [False, False]


def test_an_epoch_whose_loader_gave_all_its_batches_is_whole_without_asking_for_more():
    script = Script(batches=2)
    one = script.iter()
    for _ in range(2):
        script.next(one)
        script.step()
    (epoch,) = script.close()
    assert epoch["complete"]


def test_one_batch_that_is_trained_on_again_and_again_is_steps():
    script = Script()
    one = script.iter()
    script.next(one)
    script.let_go()
    for _ in range(6):
        script.step()
    (epoch,) = script.close()
    assert epoch["steps"] == 6


def test_gradients_where_an_evaluation_was_thought_to_go_on_begin_an_epoch():
    script = Script()
    script.train()
    one = script.iter(1)
    for _ in range(2):
        script.next(one)
        script.forward(answers_only=True)
        script.step()
    script.end(one)
    epochs = script.close()
    assert [epoch["steps"] for epoch in epochs] == [3, 2]


def test_a_teacher_called_without_gradients_is_part_of_forward():
    script = Script()
    one = script.iter()
    script.next(one)
    script.forward(5)
    script.forward(3)
    script.backward()
    script.update()
    script.end(one)
    (epoch,) = script.close()
    assert milliseconds(epoch)["forward"] == 8


def test_a_checkpoint_in_an_evaluation_is_a_checkpoint():
    script = Script()
    script.train()
    one = script.iter(1)
    script.next(one)
    script.forward(answers_only=True)
    script.save(9)
    script.end(one)
    (epoch,) = script.close()
    assert milliseconds(epoch)["checkpoint"] == 9
    assert milliseconds(epoch)["evaluation"] == 1 + 2 + 3 + 1


def test_windows_of_an_epoch_hold_its_steps_and_no_other():
    script = Script()
    for _ in range(3):
        script.train(steps=100)
        script.evaluate()
    script.close()
    rows = script.journal.rows["windows.jsonl"]
    for number in (1, 2, 3):
        mine = [row for row in rows if row["epoch"] == number]
        assert sum(row["steps"] for row in mine) == 100
        assert mine[0]["first_step"] == 1
        assert all(sum(row["phases_ns"].values()) == row["wall_ns"] for row in mine)


def test_a_pass_whose_iterator_is_gone_is_over():
    script = Script()
    one = script.iter()
    script.next(one)
    gone = weakref.ref(script.kept[-1])
    script.let_go()
    assert gone() is None
    script.recorder.catch_up()
    assert one.is_over


def test_a_journal_claims_the_runs_directory_once(tmp_path: Path):
    paths = [Journal(str(tmp_path), rank).path for rank in (0, 0, 3, 0)]
    names = [str(Path(path).relative_to(tmp_path)) for path in paths]
    assert names == [".", "processes/2", "processes/3", "processes/4"]


EVERYTHING = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EVENTS = st.sampled_from([
    "iter 0", "iter 1", "next", "next outer", "end", "forward", "answers", "backward", "update",
    "second", "save", "let go", "spend",
])  # fmt: skip


STEPS = st.sampled_from([
    ["next", "forward", "backward", "update"],
    ["next", "forward", "spend", "backward", "update", "wait"],
    ["next", "forward", "backward", "next", "forward", "backward", "update"],
    ["next", "update", "forward", "backward", "backward", "second", "spend"],
    ["next", "forward", "backward", "save", "update"],
])  # fmt: skip
PARTS = st.one_of(STEPS, st.lists(EVENTS, max_size=8))


@EVERYTHING
@given(events=st.lists(EVENTS, max_size=60))
def test_whatever_a_script_does_phases_are_whole_and_sum_to_the_wall(events):
    script = Script(optimizers=2)
    epochs = play(script, events)
    for epoch in epochs:
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
        assert all(spent >= 0 for spent in epoch["phases_ns"].values())
    for row in script.journal.rows["windows.jsonl"]:
        assert sum(row["phases_ns"].values()) == row["wall_ns"]
        assert all(spent >= 0 for spent in row["phases_ns"].values())
    updates = sum(event in {"update", "second"} for event in events)
    steps = sum(epoch["steps"] for epoch in epochs)
    assert steps <= updates
    assert steps == len(script.journal.rows["steps.jsonl"])
    assert set(epochs[0]["phases_ns"] if epochs else ()) <= {phase.value for phase in Phase}


@EVERYTHING
@given(parts=st.lists(st.tuples(PARTS, st.integers(1, 9)), max_size=8), often=st.integers(1, 200))
def test_what_is_followed_later_is_recorded_as_if_it_were_followed_at_once(parts, often):
    events = [event for part, times in parts for event in part * times]
    at_once, later = Script(optimizers=2, late=0), Script(optimizers=2, late=often)
    assert play(at_once, events) == play(later, events)
    assert at_once.journal.rows == later.journal.rows
    assert at_once.journal.facts == later.journal.facts


def test_steps_that_are_alike_are_followed_together(monkeypatch):
    script, alone = Script(late=1_000_000), []
    follow_one = Backlog._follow_one
    monkeypatch.setattr(
        Backlog, "_follow_one", lambda self, i: alone.append(i) or follow_one(self, i)
    )
    script.train(steps=1000)
    (epoch,) = script.close()
    assert (epoch["steps"], milliseconds(epoch)["backward"]) == (1000, 4000)
    assert len(alone) < 0.1 * script.told


def test_what_fails_while_it_is_followed_is_not_followed_again():
    script = Script(late=1_000_000)
    one = script.iter()
    script.next(one)
    script.tell(Recorder.unscaled)  # without the loss that it needs
    with pytest.raises(TypeError):
        script.recorder.catch_up()
    script.recorder.catch_up()
    script.step()
    script.end(one)
    (epoch,) = script.close()
    assert epoch["steps"] == 1


def play(script, events):
    """Have a script do all this; return its epochs."""
    passes = []
    for event in events:
        if event.startswith("iter"):
            passes.append(script.iter(int(event[-1])))
        elif event in {"next", "end", "next outer"}:
            alive = [one for one in passes if one not in script.over]
            if alive:
                one = alive[0 if event == "next outer" else -1]
                (script.end if event == "end" else script.next)(one)
        elif event == "forward":
            script.forward()
        elif event == "answers":
            script.forward(answers_only=True)
        elif event == "backward":
            script.backward()
        elif event in {"update", "second"}:
            script.update(optimizer=int(event == "second"))
        elif event == "save":
            script.save(1)
        elif event == "let go":
            script.let_go()
            passes.clear()
        elif event == "wait":
            script.spend(100)
        else:
            script.spend(1)
    return script.close()


def test_on_a_device_windows_hold_its_own_times_and_what_it_waited_for():
    script = Script()
    device = FakeDeviceClock(script.clock)
    script.recorder.use_timer(
        EventTimer(script.recorder.ledger, device, WindowPolicy(min_ns=100 * MS, min_steps=5))
    )
    for _ in range(2):
        one = script.iter()
        for _ in range(40):
            script.next(one, wait=10)
            script.tell(Recorder.root_called)
            device.launch(4 * MS)
            script.tell(Recorder.backward_started, 1.0)
            device.launch(3 * MS)
            script.tell(Recorder.backward_ended)
            script.update_starts()
            device.launch(1 * MS)
            script.update_ends()
        script.end(one)
        script.evaluate()
    epochs = script.close()
    for epoch in epochs:
        device_ns = epoch["device_ns"]
        steps = device_ns["steps"]
        assert epoch["mode"] == "events"
        assert device_ns["invalid_windows"] == 0
        assert device_ns["forward_ns"] == steps * 4 * MS
        assert device_ns["backward_ns"] == steps * 3 * MS
        # The host waits 10 ms for a batch, the device is busy for 8 of them.
        assert abs(device_ns["stall_ns"] - steps * 2 * MS) <= 20 * MS
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
