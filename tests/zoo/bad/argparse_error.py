"""Has an option that must be given."""

import argparse

import _training

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.parse_args()
_training.train()
