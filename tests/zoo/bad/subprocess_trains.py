"""Starts a process that trains; itself it does not."""

import os
import subprocess
import sys

script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exits_3.py")
done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True)
print("the child said", done.stdout.split("\n"), "and ended with", done.returncode)
