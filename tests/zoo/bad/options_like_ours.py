"""Has options that are named as some of ours."""

import argparse

import _training

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--json", action="store_true")
parser.add_argument("--headroom", action="store_true")
parser.add_argument("--runs-dir")
parser.add_argument("rest", nargs="*")
print(parser.parse_args())
_training.train()
