"""Goes to another directory before its training."""

import os
import tempfile

import _training

directory = tempfile.mkdtemp()
os.chdir(directory)
_training.train()
with open("note.txt", "w") as f:
    f.write("here")
print(sorted(os.listdir(directory)))
os.remove("note.txt")
os.chdir("/")
os.rmdir(directory)
