"""What may be tried, the ones that matter most first: overrides, what they do to numbers, when."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from laptime.errors import SettingsError
from laptime.host_memory import can_keep_memory, keeps_memory
from laptime.settings import suggestion
from laptime.tune import Changes, NotTried, Numbers, PilotRecord, TuneArm, overrides_of
from laptime.tuning.choice.bounds import Part, bound_words, is_worth_trying, share_of

SAME: Numbers = "same numbers"
ROUNDING: Numbers = "same up to rounding"
OTHER: Numbers = "other numbers"

RANDOM_NOTE = (
    "same numbers only if the dataset draws no random numbers: workers draw others, and so does "
    "the training process after them"
)
"""What a worker count and persistent workers do, as rulings of torch's generators have it."""

NOT_ALLOWED = "it changes numbers: --allow-numerics"


@dataclass(frozen=True)
class Candidate:
    """Overrides that are tried together, as one thing."""

    key: str
    """What ``--only`` calls it."""
    name: str
    changes: Changes
    numbers: Numbers
    note: str = ""

    def arm(self) -> TuneArm:
        """Return the arm that tries it."""
        return TuneArm(name=self.name, changes=self.changes)


@dataclass(frozen=True)
class Kind:
    """A way to run a job faster: what it does to numbers, what it could shorten, its values."""

    numbers: Numbers
    parts: tuple[Part, ...]
    values: Callable[[PilotRecord], Sequence[Changes]]
    """Nothing where it has no value that the job does not have already."""
    obstacle: Callable[[PilotRecord], str | None] = lambda _: None
    """Why it cannot apply to this job; None where it can."""
    note: str = ""
    title: str = ""
    """Its name in tables; empty: its key."""


def _set(**overrides: bool | int | str) -> Callable[[PilotRecord], Sequence[Changes]]:
    return lambda _: (tuple(overrides.items()),)


def _without_loader(pilot: PilotRecord) -> str | None:
    return None if pilot.loader else "no DataLoader was seen"


def _workers_needed(pilot: PilotRecord) -> str | None:
    if pilot.loader and pilot.loader.num_workers == 0:
        return NO_WORKERS
    return _without_loader(pilot)


NO_WORKERS = "there are no workers"
"""Why an override that speaks to workers does not apply; once some were found, it may."""


def _persistent(pilot: PilotRecord) -> str | None:
    if pilot.loader and pilot.loader.persistent_workers:
        return "the workers are persistent already"
    return _workers_needed(pilot)


def _batched(pilot: PilotRecord) -> str | None:
    if pilot.loader and pilot.loader.kind != "sample":
        return "it makes whole batches already"
    return _without_loader(pilot)


def loaders(pilot: PilotRecord) -> Sequence[Changes]:
    """Return whole batches, made on the host and, where the device is another, on the device."""
    names = ("batch", "device") if pilot.device.startswith("cuda") else ("batch",)
    return tuple((("loader", name),) for name in names)


def _on_cuda(pilot: PilotRecord) -> str | None:
    return None if pilot.device.startswith("cuda") else f"it does nothing on {pilot.device}"


def _keeping(pilot: PilotRecord) -> str | None:
    if pilot.device != "cpu":
        return f"the activations are on {pilot.device}"
    if not can_keep_memory():
        return "the allocator is not glibc's"
    return "the environment says so already" if keeps_memory() else None


def _pinned(pilot: PilotRecord) -> str | None:
    if pilot.loader and pilot.loader.pin_memory:
        return "memory is pinned already"
    return _on_cuda(pilot) or _without_loader(pilot)


def _compiled(pilot: PilotRecord) -> str | None:
    return "the model is compiled already" if pilot.is_compiled else None


_FUSED = frozenset({"SGD", "Adam", "AdamW", "Adagrad"})
_FOREACH = _FUSED | {"Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop"}


def _fused(pilot: PilotRecord) -> str | None:
    return _unoptimized(pilot, _FUSED) or (
        "it is fused already" if all(known.fused for known in pilot.optimizers) else None
    )


def _foreach(pilot: PilotRecord) -> str | None:
    if pilot.device.startswith("cuda"):
        return "torch does it so on CUDA already"
    done = all(known.foreach or known.fused for known in pilot.optimizers)
    return _unoptimized(pilot, _FOREACH) or ("it is set already" if done else None)


def _unoptimized(pilot: PilotRecord, known: Collection[str]) -> str | None:
    names = {optimizer.name for optimizer in pilot.optimizers}
    if not names:
        return "no optimizer of torch was seen"
    without = sorted(names - set(known))
    return f"{without[0]} has no such form" if without else None


def prefetch_factors(pilot: PilotRecord) -> Sequence[Changes]:
    """Return twice the batches that each worker prepares in advance now."""
    now = (pilot.loader.prefetch_factor if pilot.loader else None) or 2
    return ((("prefetch_factor", 2 * now),),)


def thread_counts(pilot: PilotRecord) -> Sequence[Changes]:
    """Return one thread and one a physical core, whichever the job does not have."""
    wanted = dict.fromkeys((1, pilot.cores))
    return tuple((("threads", count),) for count in wanted if count != pilot.threads)


def no_values(_: PilotRecord) -> Sequence[Changes]:
    """Return nothing: worker counts are found by an ascent."""
    return ()


KINDS: Mapping[str, Kind] = {
    "num_workers": Kind(
        SAME, ("edges", "data_wait"), no_values, _without_loader, note=RANDOM_NOTE
    ),
    "persistent_workers": Kind(
        SAME, ("edges",), _set(persistent_workers=True), _persistent, note=RANDOM_NOTE
    ),
    "pin_memory": Kind(
        SAME, ("transfer", "data_wait"), _set(pin_memory=True, non_blocking=True), _pinned,
        title="pin_memory + non_blocking",
    ),
    "prefetch_factor": Kind(SAME, ("data_wait",), prefetch_factors, _workers_needed),
    "threads": Kind(ROUNDING, ("compute", "optimizer", "data_wait"), thread_counts),
    "keep_memory": Kind(SAME, ("compute",), _set(keep_memory=True), _keeping),
    "tf32": Kind(OTHER, ("compute",), _set(tf32=True), _on_cuda),
    "bf16": Kind(OTHER, ("compute",), _set(bf16=True)),
    "channels_last": Kind(ROUNDING, ("compute",), _set(channels_last=True)),
    "compile": Kind(
        ROUNDING, ("compute",), _set(compile=True), _compiled,
        note="dropout draws other random numbers",
    ),
    "fused": Kind(ROUNDING, ("optimizer",), _set(fused=True), _fused),
    "foreach": Kind(ROUNDING, ("optimizer",), _set(foreach=True), _foreach),
    "cudnn_benchmark": Kind(ROUNDING, ("compute",), _set(cudnn_benchmark=True), _on_cuda),
    "gc": Kind(SAME, ("collection",), _set(gc="freeze"), title="gc freeze"),
}  # fmt: skip
"""Of somebody's script, in the order in which they are tried."""

JOB_KINDS: Mapping[str, Kind] = {
    "num_workers": KINDS["num_workers"],
    "loader": Kind(ROUNDING, ("edges", "data_wait"), loaders, _batched),
    "persistent_workers": KINDS["persistent_workers"],
    "pin_memory": Kind(SAME, ("transfer", "data_wait"), _set(pin_memory=True), _pinned),
    "prefetch_factor": KINDS["prefetch_factor"],
    "threads": KINDS["threads"],
    "keep_memory": KINDS["keep_memory"],
    "tf32": Kind(OTHER, ("compute",), _set(precision="tf32"), _on_cuda),
    "bf16": Kind(OTHER, ("compute",), _set(precision="bf16")),
    "channels_last": KINDS["channels_last"],
    "compile": KINDS["compile"],
    "cuda_graphs": Kind(
        ROUNDING,
        ("compute",),
        _set(compile=True, cuda_graphs=True),
        _on_cuda,
        note="dropout draws other random numbers",
        title="compile + cuda_graphs",
    ),
    "fused": KINDS["fused"],
    "cudnn_benchmark": KINDS["cudnn_benchmark"],
}
"""Of the built-in job: its settings."""


def check_only(only: Sequence[str], kinds: Mapping[str, Kind]) -> None:
    """Refuse names of overrides that there are not.

    Raises:
        SettingsError: One is unknown.
    """
    for name in only:
        if name not in kinds:
            raise SettingsError(
                f"only is {name[:60]!r}, which is no override.{suggestion(name[:60], tuple(kinds))}"
            )


def obstacle_to(
    key: str, kind: Kind, pilot: PilotRecord, only: Collection[str], *, allow_numerics: bool
) -> str | None:
    """Return why an override is not tried on this job; None where it is worth it."""
    if only and key not in only:
        return "--only leaves it out"
    found = kind.obstacle(pilot)
    if found is not None:
        return found
    if not is_worth_trying(share_of(pilot, kind.parts)):
        return bound_words(pilot, kind.parts)
    if kind.numbers == OTHER and not allow_numerics:
        return NOT_ALLOWED
    return None


def candidates_of(
    pilot: PilotRecord,
    kinds: Mapping[str, Kind] = KINDS,
    *,
    only: Collection[str] = (),
    allow_numerics: bool = False,
) -> tuple[list[Candidate], list[NotTried]]:
    """Return what is worth trying, and what is not and why.

    Worker counts are not among them: they are climbed.
    """
    chosen: list[Candidate] = []
    left: list[NotTried] = []
    for key, kind in kinds.items():
        why = obstacle_to(key, kind, pilot, only, allow_numerics=allow_numerics)
        if why is not None:
            left.append(NotTried(name=kind.title or key, numbers=kind.numbers, why=why))
            continue
        chosen += values_of(key, kind, pilot)
    return chosen, left


def values_of(key: str, kind: Kind, pilot: PilotRecord) -> Iterator[Candidate]:
    """Yield a candidate for each value of an override."""
    for changes in kind.values(pilot):
        name = kind.title or " ".join([key, *(str(v) for _, v in changes if v is not True)])
        yield Candidate(key, name, changes, kind.numbers, kind.note)


def workers_candidate(count: int) -> Candidate:
    """Return the candidate of one worker count."""
    kind = KINDS["num_workers"]
    changes: Changes = (("num_workers", count),)
    return Candidate("num_workers", f"num_workers {count}", changes, kind.numbers, kind.note)


def merged(parts: Sequence[Candidate]) -> Candidate:
    """Return several candidates as one; what a later one sets holds."""
    order: tuple[Numbers, ...] = (SAME, ROUNDING, OTHER)
    changes: dict[str, bool | int | str] = {}
    for part in parts:
        changes |= overrides_of(part.changes)
    return Candidate(
        key=parts[0].key if len(parts) == 1 else "",
        name=" + ".join(part.name for part in parts),
        changes=tuple(changes.items()),
        numbers=max((part.numbers for part in parts), key=order.index),
        note="; ".join(dict.fromkeys(part.note for part in parts if part.note)),
    )
