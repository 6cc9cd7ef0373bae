import os
import sys
from pathlib import Path

import torch

from laptime.attach.found import Found, length_of
from laptime.attach.places import Tally, caller_place, is_users


def test_a_place_is_the_line_that_calls():
    place = caller_place(1)
    assert place["text"] == f"test_places.py:{sys._getframe().f_lineno - 1}"
    assert place["path"] == str(Path(__file__))


def test_a_librarys_frames_are_passed_over():
    seen = []

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            seen.append(caller_place(2))
            return 4

    torch.utils.data.DataLoader(Data(), shuffle=True)
    line = sys._getframe().f_lineno - 1
    assert seen[0]["text"] == f"test_places.py:{line}"


def test_installed_made_up_and_our_own_files_are_not_the_users():
    assert not is_users(torch.__file__)
    assert not is_users(os.__file__)
    assert not is_users("<string>")
    assert not is_users(sys.modules["laptime.attach.places"].__file__)
    assert is_users("train.py")


def test_a_tally_counts_lines_and_leaves_out_torchs_own():
    tally = Tally()
    for _ in range(3):
        tally.add(sys._getframe(), 5)
    (row,) = tally.rows()
    assert (row["count"], row["ns"]) == (3, 15)


def samples(batch, batch_size=8):
    found = Found()
    found.loaders.append({"batch_size": batch_size})
    return found.samples_of(0, length_of(batch))


def test_samples_are_the_length_of_a_batchs_first_tensor():
    x = torch.zeros(8, 3)
    assert samples((x, torch.zeros(8))) == 8
    assert samples([[x], 1]) == 8
    assert samples({"x": x}) == 8
    assert samples(x) == 8
    assert samples(x[:5]) == 5


def test_what_may_count_something_else_is_unknown():
    assert samples(torch.zeros(100, 3)) is None
    assert samples(torch.tensor(1.0)) is None
    assert samples(["a", "b"]) is None
    assert samples((torch.zeros(8, 3),), batch_size=None) is None
