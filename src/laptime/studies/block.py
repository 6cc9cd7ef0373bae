"""One block: fresh processes, one an arm, that take turns; or one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, Protocol

from laptime.replicate import Block, Design, NoiseRecord, Outcome, Replicate, Stage, Turn
from laptime.statistics.intervals import standard_error
from laptime.studies.plan import AnyArm, BlockArm, BlockPlan
from laptime.studies.process import ArmEndedError, ArmHandle
from laptime.timing.clock import calendar_now, read_ns
from laptime.timing.environment import usable_memory_bytes
from laptime.timing.noise import Reading, flag_round

EXTRA_ROUNDS = 2
"""How often a round with a contaminated turn is run again."""

FIRST_STEPS = 3
"""Not counted in any turn: they find caches that other arms have filled, and threads asleep.

Arms with workers run more than that before they are counted; those without would otherwise pay
for what the others do not.
"""

_ALONE_S = 5.0
_MEMORY_RESERVE = 1.5
"""An arm is started beside others only while this many times the largest so far is free."""


class Meter(Protocol):
    """Whoever watches the machine; the real one is :class:`laptime.timing.noise.NoiseMeter`."""

    def before(self, pids: Collection[int]) -> Reading:
        """Read the machine before a turn of these processes."""

    def after(self, reading: Reading) -> NoiseRecord:
        """Return what happened since."""


class BlockListener(Protocol):
    """Whoever shows a block while it goes on."""

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None:
        """An arm has had a turn."""

    def arm_ended(self, arm: str, status: Outcome, reason: str) -> None:
        """An arm has come to an end before its block."""

    def warned(self, text: str) -> None:
        """Something is worth a line."""


class Member:
    """An arm in a block: its process, what it said of itself, its turns, how it ended."""

    def __init__(self, arm: BlockArm, handle: ArmHandle, timeout_s: float) -> None:
        self.arm, self.handle = arm, handle
        self.facts: dict[str, Any] = {}
        self.turns: list[Turn] = []
        self.status: Outcome = "completed"
        self.reason: str | None = None
        self.refused = False
        self.is_through = False
        """Whether it has run out of steps: its turns count, and there will be no more."""
        self._timeout_s = timeout_s

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        return self.status == "completed"

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Ask and keep what a failed answer says of the outcome; it is empty then."""
        if not self.alive:
            return {}
        try:
            return self.handle.ask(do, self._timeout_s, **details)
        except ArmEndedError as error:
            return self._ended(error)

    def built(self) -> None:
        """Wait until data and model are there."""
        try:
            self.handle.reply(self._timeout_s)
        except ArmEndedError as error:
            self._ended(error)

    def learn(self, do: str, **details: Any) -> None:
        """Ask for facts and keep them."""
        self.facts |= self.ask(do, **details)

    def had_turn(self, number: int) -> bool:
        """Return whether its last turn was that of a round."""
        return bool(self.turns) and self.turns[-1].round == number

    def in_flight(self) -> int:
        """Return the batches that were under way when the workers were last stopped."""
        return self.arm.in_flight(self.facts)

    def replicate(self, block: int) -> Replicate:
        """Return what is kept of it."""
        known = {name: self.facts[name] for name in Replicate.model_fields if name in self.facts}
        return Replicate.model_validate(
            {
                **known,
                "arm": self.arm.name,
                "block": block,
                "status": self.status,
                "reason": self.reason,
                "turns": tuple(self.turns),
            }
        )

    def _ended(self, error: ArmEndedError) -> dict[str, Any]:
        self.is_through = error.status == "completed"
        self.status, self.reason, self.refused = error.status, error.reason, error.refused
        return {}


class BlockRun(Generic[AnyArm]):
    """Run the blocks of one plan, each from fresh processes to a record."""

    def __init__(
        self,
        plan: BlockPlan[AnyArm],
        start_arm: Callable[[AnyArm], ArmHandle],
        meter: Meter,
        listener: BlockListener,
        *,
        stage: Stage = "main",
        close_looks: bool = True,
        free_bytes: Callable[[], int] = usable_memory_bytes,
    ) -> None:
        self._plan, self._start_arm, self._meter = plan, start_arm, meter
        self._listener, self._stage, self._free_bytes = listener, stage, free_bytes
        self._design: Design = plan.design
        self._close_looks = close_looks

    def run(self, block: int) -> Block:
        """Return the record of a block; arms that end early are outcomes in it."""
        started, start_ns = calendar_now().isoformat(timespec="seconds"), read_ns()
        members = self._members(block)
        design = self._design
        return Block(
            block=block,
            stage=self._stage,
            design=design,
            started=started,
            wall_ns=read_ns() - start_ns,
            replicates=tuple(member.replicate(block) for member in members),
        )

    def _members(self, block: int) -> list[Member]:
        if self._design == "turns":
            members = self._in_turns(block)
            if members is not None:
                return members
            self._design = "sequential"
            self._listener.warned(
                "The arms do not fit into memory side by side: from here on they run one after "
                "another, which sees less for the same time."
            )
        return self._one_after_another(block)

    def _in_turns(self, block: int) -> list[Member] | None:
        """Run a block side by side; None when memory does not allow that."""
        members: list[Member] = []
        try:
            for arm in self._plan.arms:
                if members and not self._fits(members):
                    return None
                members.append(self._start(arm))
            for member in members:
                member.built()
            for member in _in_order(members, self._orders(block)[0]):
                member.learn("prepare")
            if self._starved(members):
                return None
            self._rounds(members, self._orders(block))
            for member in _in_order(members, self._orders(block)[0]):
                self._close_look(member)
        finally:
            for member in members:  # all at once, then wait for each
                member.handle.let_go()
            for member in members:
                self._close(member)
        return members

    def _one_after_another(self, block: int) -> list[Member]:
        members: dict[int, Member] = {}
        for place in self._orders(block)[0]:
            member = members[place] = self._start(self._plan.arms[place])
            try:
                member.built()
                member.learn("prepare")
                for number in range(1, self._plan.turns.min_turns + 1):
                    self._turn(member, number)
                self._mark([(member, i) for i in range(len(member.turns))])
                self._close_look(member)
            finally:
                self._close(member)
        return [members[place] for place in sorted(members)]

    def _rounds(self, members: Sequence[Member], orders: Sequence[Sequence[int]]) -> None:
        """Let everyone have a turn, round after round, until enough is known."""
        for number, order in enumerate(orders, 1):
            for member in _in_order(members, order):
                self._turn(member, number)
            self._flag(members, number)
            if self._is_enough(members, number):
                return

    def _turn(self, member: Member, number: int) -> None:
        if not member.alive or member.is_through:
            return
        reading = self._meter.before(member.handle.pids)
        policy = self._plan.turns
        measured = member.ask(
            "turn",
            discard=max(FIRST_STEPS, member.in_flight()),
            min_steps=policy.min_steps,
            min_s=policy.min_s,
        )
        noise = self._meter.after(reading)
        if not measured:
            self._tell_end(member)
            return
        turn = Turn.model_validate({**measured, "round": number, "noise": noise})
        member.turns.append(turn)
        self._listener.turn_taken(member.arm.name, number, turn.step_s)

    def _flag(self, members: Sequence[Member], number: int) -> None:
        """Mark the turns of a round during which the machine was not ours alone."""
        self._mark([(m, len(m.turns) - 1) for m in members if m.had_turn(number)])

    def _mark(self, places: Sequence[tuple[Member, int]]) -> None:
        """Compare some turns with each other, and mark those that were disturbed."""
        noises = [noise for m, i in places if (noise := m.turns[i].noise) is not None]
        if len(noises) != len(places):
            return
        for (member, i), contaminated in zip(places, flag_round(noises), strict=True):
            changes = {"contaminated": contaminated}
            member.turns[i] = member.turns[i].model_copy(update=changes)

    def _is_enough(self, members: Sequence[Member], number: int) -> bool:
        policy = self._plan.turns
        if any(member.is_through for member in members):
            return True  # a round without it compares nothing with it
        if number < policy.min_turns:
            return False
        alive = [member for member in members if member.alive]
        unclean = {turn.round for member in alive for turn in member.turns if turn.contaminated}
        again = min(len(unclean), EXTRA_ROUNDS)
        if number < policy.min_turns + again:
            return False
        return all(se <= policy.target_se for se in self._errors(alive))

    def _errors(self, alive: Sequence[Member]) -> Iterable[float]:
        """Return, of each arm, the standard error of its log ratio to the baseline."""
        steps_s = {m.arm.name: {t.round: t.step_s for t in m.turns} for m in alive}
        base = steps_s.pop(self._plan.baseline, {})
        for turns in steps_s.values():
            yield standard_error([math.log(turns[r] / base[r]) for r in turns if r in base])

    def _close_look(self, member: Member) -> None:
        """Measure what needs no turns: the workers' memory, the loader alone."""
        for do in member.arm.looks:
            member.learn(do)
        if not self._close_looks or not member.arm.looks or not member.alive:
            return
        steps = max(20, 2 * int(member.facts.get("num_workers", 0)))
        member.learn("alone", discard=member.in_flight(), steps=steps, longest_s=_ALONE_S)
        self._tell_end(member)

    def _start(self, arm: AnyArm) -> Member:
        return Member(arm, self._start_arm(arm), self._plan.timeout_s)

    def _close(self, member: Member) -> None:
        self._tell_end(member)
        member.handle.close()

    def _tell_end(self, member: Member) -> None:
        if not member.alive and member.reason and not member.facts.get("told"):
            member.facts["told"] = True
            self._listener.arm_ended(member.arm.name, member.status, member.reason)

    def _fits(self, members: Sequence[Member]) -> bool:
        largest = max(_resident_bytes(member.handle.pids) for member in members)
        return self._free_bytes() > _MEMORY_RESERVE * largest

    def _starved(self, members: Sequence[Member]) -> bool:
        """Tell whether arms ran out of memory that might have had enough by themselves."""
        return len(members) > 1 and any(m.status == "out_of_memory" for m in members)

    def _orders(self, block: int) -> Sequence[Sequence[int]]:
        return self._plan.orders[block - 1]


def _in_order(members: Sequence[Member], order: Sequence[int]) -> list[Member]:
    return [members[place] for place in order]


def _resident_bytes(pids: Collection[int]) -> int:
    import psutil

    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
    return total
