"""Catches SystemExit and KeyboardInterrupt around its training, and goes on."""

import _training

ended = "ran to its end"
try:
    _training.train(epochs=3)
except (SystemExit, KeyboardInterrupt) as error:
    ended = f"was stopped by {type(error).__name__}"
print("the training", ended)
