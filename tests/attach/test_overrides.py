import os
import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from laptime.attach.overrides import Overrides


def overrides(**asked):
    return Overrides(asked, SimpleNamespace(around_root=None, non_blocking=False))


PLACE = {"path": "/x/train.py", "line": 42, "text": "train.py:42"}


def test_without_overrides_the_arguments_are_passed_through():
    args, kwargs = ("data", 32), {"shuffle": True}
    assert overrides().loader(PLACE, args, kwargs) == (args, kwargs)


def test_a_loaders_settings_are_changed_by_name_even_where_given_by_position():
    args = ("data", 32, True, None, None, 4)  # the sixth is num_workers
    _, kwargs = overrides(num_workers=2).loader(PLACE, args, {"pin_memory": True})
    assert kwargs["num_workers"] == 2
    assert (kwargs["dataset"], kwargs["batch_size"], kwargs["shuffle"]) == ("data", 32, True)
    assert kwargs["pin_memory"] is True


def test_no_workers_drop_what_only_workers_have():
    given = {"num_workers": 4, "prefetch_factor": 2, "persistent_workers": True, "timeout": 3}
    _, kwargs = overrides(num_workers=0).loader(PLACE, ("data",), given)
    assert kwargs == {"dataset": "data", "num_workers": 0}


def test_persistent_workers_are_left_out_of_a_loader_without_workers():
    _, kwargs = overrides(persistent_workers=True).loader(PLACE, ("data",), {})
    assert "persistent_workers" not in kwargs


@pytest.mark.parametrize("place", [None, {**PLACE, "text": "other.py:1"}])
def test_a_site_means_that_loader_and_no_other(place):
    args, kwargs = overrides(num_workers=2, site="train.py:42").loader(place, ("data",), {})
    assert (args, kwargs) == (("data",), {})


def test_the_scripts_own_choice_of_threads_does_not_undo_what_was_asked_for(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    overrides(threads=3).process()
    torch.set_num_threads(1)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a worker, which torch gives one thread
    torch.set_num_threads(1)
    assert chosen == [3, 1]


@pytest.mark.parametrize(("asked", "times"), [(True, 1), (False, 0)])
def test_memory_is_kept_where_it_was_asked_for(asked, times, monkeypatch):
    kept = []
    monkeypatch.setattr("laptime.attach.overrides.keep_freed_memory", lambda: kept.append(1))
    overrides(keep_memory=asked).process()
    assert len(kept) == times


def test_an_optimizer_gets_the_implementation_that_was_asked_for():
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    overrides(fused=True).optimizer(optimizer)
    assert optimizer.param_groups[0]["fused"]
    assert not optimizer.param_groups[0]["foreach"]


def test_an_optimizer_that_has_no_such_implementation_is_left_alone():
    optimizer = torch.optim.LBFGS(nn.Linear(2, 2).parameters())
    before = dict(optimizer.param_groups[0])
    overrides(fused=True).optimizer(optimizer)
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == {
        k: v for k, v in before.items() if k != "params"
    }


def test_a_fused_update_is_the_same_up_to_rounding():
    def trained(**asked):
        torch.manual_seed(0)
        model = nn.Linear(8, 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        overrides(**asked).optimizer(optimizer)
        for _ in range(3):
            model(torch.ones(4, 8)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.weight.detach()

    torch.testing.assert_close(trained(fused=True), trained())


def test_bf16_gives_answers_in_float32_of_whatever_structure():
    changes = overrides(bf16=True)
    model = nn.Linear(8, 8)

    def call(module, x):
        y = module.forward(x)
        assert y.dtype is torch.bfloat16
        return {"logits": y, "pair": (y, 1)}

    answer = changes._call_root(model, call, (torch.ones(2, 8),), {})
    assert answer["logits"].dtype is torch.float32
    assert answer["pair"][0].dtype is torch.float32


def test_channels_last_changes_the_format_of_images_and_weights_and_no_number():
    torch.manual_seed(0)
    model, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    seen = []

    def call(module, images):
        seen.append(images.is_contiguous(memory_format=torch.channels_last))
        return module.forward(images)

    expected = model(x)
    answer = overrides(channels_last=True)._call_root(model, call, (x,), {})
    assert seen == [True]
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answer, expected)


def test_a_seed_that_the_script_sets_is_shifted(monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", torch.manual_seed)
    monkeypatch.setattr(torch.random, "manual_seed", torch.random.manual_seed)
    monkeypatch.setattr(random, "seed", random.seed)
    np = pytest.importorskip("numpy")
    monkeypatch.setattr(np.random, "seed", np.random.seed)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(12)
        expected = torch.randn(2)
        overrides(seed_shift=2).process()
        torch.manual_seed(10)
        assert torch.equal(torch.randn(2), expected)
    finally:
        torch.set_rng_state(state)
