#!/bin/sh
# A shell script around a training, as clusters have them.
set -u
cd "$(dirname "$0")" || exit 1
echo "start: $*"
"${ZOO_PYTHON:-python}" exits_3.py
echo "ended with $?"
exit 4
