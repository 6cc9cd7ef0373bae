"""Prints what it sees of how it was started."""

import os
import sys

import _training

print(__name__, __file__, sys.argv, sys.flags)
print(sys.path)
print(os.getcwd(), os.path.abspath(sys.argv[0]))
print(sys.excepthook is sys.__excepthook__, sys.stdout.isatty(), sys.gettrace())
print(sorted(name for name in vars() if not name.startswith("__")))
_training.train()
