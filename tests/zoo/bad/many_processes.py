"""Two processes, each with a training of its own."""

import sys

import _training
import torch.multiprocessing as mp


def work(index, name):
    with open(f"{name}-{index}.txt", "w") as sys.stdout:
        _training.train(index + 1)
        sys.stdout.flush()
    sys.stdout = sys.__stdout__


if __name__ == "__main__":
    mp.spawn(work, args=("log",), nprocs=2)
    for index in range(2):
        print(open(f"log-{index}.txt").read(), end="")
