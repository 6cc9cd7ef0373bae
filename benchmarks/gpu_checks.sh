#!/usr/bin/env bash
# bash benchmarks/gpu_checks.sh
#
# Every check that needs a CUDA device, in less than nine minutes; docs/gpu-checks.md says what
# they prove. Needs Python with torch, pytest and laptime's other dependencies, and this
# repository; laptime itself need not be installed. Everything is written under $OUT.
#
#   OUT      where results go (benchmarks/results/gpu)      PYTHON   the interpreter (python)
#   DEVICE   cuda, or cuda:N                                SAMPLES  training samples (50000)
set -u
cd "$(dirname "$0")/.." || exit 2

out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-python}
device=${DEVICE:-cuda}
samples=${SAMPLES:-50000}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
failed=()

check() { # NAME SECONDS COMMAND...: run, keep the output, remember a failure
  local name=$1 limit_s=$2
  shift 2
  printf '\n== %s (at most %s s)\n' "$name" "$limit_s"
  timeout "$limit_s" "$@" || { echo "FAILED with status $?: $name"; failed+=("$name"); }
}

train() { # NAME OPTIONS...: train full ResNet-18 on synthetic data; the record goes to NAME.json
  local name=$1
  shift
  "$python" -m laptime train --data synthetic --samples "$samples" --device "$device" \
    --runs-dir "$out/runs" --json "$@" >"$out/$name.json" || return
  "$python" benchmarks/gpu_summary.py "$out/$name.json"
}

mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1
"$python" - "$device" <<'PYTHON' || exit 2
import platform
import sys

import torch

if sys.argv[1].startswith("cuda") and not torch.cuda.is_available():
    sys.exit("gpu_checks.sh: torch finds no CUDA device; there is nothing to check here.")
name = torch.cuda.get_device_name(sys.argv[1]) if torch.cuda.is_available() else "none"
print(f"Python {platform.python_version()}, torch {torch.__version__}, "
      f"CUDA {torch.version.cuda}, GPU {name}")
PYTHON

export -f train
export out python device samples

# -c /dev/null: pyproject.toml asks for plugins that this machine may not have.
check "device ledger against planted truth" 200 "$python" -m pytest -c /dev/null --rootdir . \
  -p no:cacheprovider --import-mode=importlib -o markers="gpu: needs a CUDA device" \
  -m gpu -v -s -rs tests/timing/test_gpu.py
check "memory of a training step, measured" 60 "$python" -m pytest -c /dev/null --rootdir . \
  -p no:cacheprovider --import-mode=importlib -o markers="gpu: needs a CUDA device" \
  -m gpu -v -s -rs tests/inspection/test_peak.py
check "census and roofs" 40 bash -c \
  '"$python" -m laptime inspect --device "$device" --json >"$out/inspect.json"'
check "training, mode events" 130 bash -c \
  'train events --timing events --epochs 3 --loader batch --num-workers 4 --pin-memory true'
check "training, mode sync" 130 bash -c \
  'train sync --timing sync --epochs 3 --loader batch --num-workers 4 --pin-memory true'
samples=$((samples / 5)) check "training that waits for its loader, mode events" 60 bash -c \
  'train waiting --timing events --epochs 2 --loader sample --num-workers 1'
check "an unedited script, recorded with events" 90 bash -c \
  'cd "$out" && "$python" -m laptime export --data synthetic --samples 12800 --device "$device" \
  --epochs 2 --loader batch --num-workers 4 --pin-memory true >/dev/null &&
  "$python" -m laptime run --runs-dir runs -- "$python" train_plain.py &&
  "$python" -m laptime run --headroom --runs-dir runs -- "$python" train_plain.py'
check "an unedited script, tuned" 150 bash -c \
  'cd "$out" && "$python" -m laptime tune --budget 2m --only threads,tf32,pin_memory \
  --runs-dir runs -- "$python" train_plain.py'

# Weights are no results, and large.
rm -rf "$out"/runs/*/checkpoints
if ((${#failed[@]})); then
  printf '\nFAILED: %s\n' "${failed[@]}"
  exit 1
fi
printf '\nall checks passed; results are in %s\n' "$out"
