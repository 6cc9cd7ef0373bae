"""The scripts of the zoo, and what each needs to run."""

from __future__ import annotations

from dataclasses import dataclass

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@dataclass(frozen=True)
class Script:
    """A script as people write them, and how they start it."""

    name: str
    arguments: tuple[str, ...] = ()
    """After ``python``; the file itself if there are none."""
    needs: tuple[str, ...] = ()
    """Modules, or members of modules, without which it cannot run."""
    missing: tuple[str, ...] = ()
    """Boundaries that cannot be found, which the recorder must say."""

    @property
    def command(self) -> tuple[str, ...]:
        """What follows the interpreter."""
        return self.arguments or (f"{self.name}.py",)


SCRIPTS = (
    Script("plain_loop"),
    Script("progress_prints"),
    Script("functional", missing=("forward",)),
    Script("accumulation"),
    Script("amp", needs=("torch.amp:GradScaler",)),
    Script("two_optimizers"),
    Script("gan"),
    Script("lbfgs"),
    Script("iterable"),
    Script("no_loader", missing=("loader",)),
    Script("manual_iterator"),
    Script("evaluation_each_epoch"),
    Script("evaluation_mid_epoch"),
    Script("checkpoints"),
    Script("distillation"),
    Script("slow_forward"),
    Script("slow_optimizer"),
    Script("slow_logging"),
    Script("workers"),
    Script("start_up"),
    Script("clipping_and_schedule"),
    Script("compiled"),
    Script("spawn_workers"),
    Script("relative_imports", arguments=("-m", "pkg.train")),
    Script("balanced"),
    Script("thirds"),
    Script("tiny"),
    Script("one_cold_epoch"),
    Script("ddp", arguments=(*TORCHRUN, "ddp.py"), needs=("torch.distributed:init_process_group",)),
    Script("lightning_loop", needs=("lightning",)),
    Script("hf_trainer", needs=("transformers", "accelerate")),
    Script("accelerated", needs=("accelerate",)),
)
