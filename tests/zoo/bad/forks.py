"""Forks in the middle of the training; the child prints and exits."""

import os
import sys

import _training


def fork(step):
    if step == 10:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            print("child: a snapshot of step", step)
            sys.exit(5)
        _, status = os.waitpid(child, 0)
        print("child ended with", os.WEXITSTATUS(status))


_training.train(2, fork)
