"""Asks what to do on standard input, in the middle of the training too."""

import sys

import _training

epochs = int(input("epochs? "))


def ask(step):
    if step == 3:
        print("said:", sys.stdin.readline().strip())


_training.train(epochs, ask)
print("rest:", sys.stdin.read().split())
