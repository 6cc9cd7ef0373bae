#!/usr/bin/env bash
# bash benchmarks/gpu_checks.sh
#
# Every check that needs a CUDA device, in less than nine minutes; docs/gpu-checks.md says what
# they prove. Needs Python with torch, pytest and laptime's other dependencies, and this
# repository; laptime itself need not be installed. Everything is written under $OUT.
#
#   OUT      where results go (benchmarks/results/gpu)      PYTHON   the interpreter (python)
#   DEVICE   cuda, or cuda:N                                SAMPLES  training samples (50000)
#   DATA     CIFAR-10, for the time to 94 %; without it that part is left out
#   LIMIT    seconds for everything (530): a check that no time is left for is named and fails
set -u
cd "$(dirname "$0")/.." || exit 2

out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-python}
device=${DEVICE:-cuda}
samples=${SAMPLES:-50000}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
data=${DATA:-}
limit=${LIMIT:-530}
failed=()

check() { # NAME SECONDS COMMAND...: run, keep the output, remember a failure
  local name=$1 limit_s=$2 left_s=$((limit - SECONDS))
  shift 2
  if ((left_s < limit_s)); then limit_s=$left_s; fi
  printf '\n== %s (at most %s s)\n' "$name" "$limit_s"
  if ((limit_s <= 0)); then echo "FAILED: no time is left for it: $name"; failed+=("$name"); return; fi
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

speed() { # inspect, both presets, and, where there is CIFAR-10, five seeds to 94 %
  "$python" -m laptime inspect --device "$device" --precision bf16 --json >"$out/inspect-bf16.json"
  train lab --preset lab --epochs 2 --num-workers 8 --pin-memory true
  train fast --preset fast --epochs 8
  train graphs --preset fast --cuda-graphs true --epochs 8
  local seed
  [[ -z $data ]] || for seed in 0 1 2 3 4; do
    "$python" -m laptime train --preset fast --data "$data" --evaluate --device "$device" \
      --seed "$seed" --epochs 24 --batch-size 512 --optimizer nesterov --lr 0.4 \
      --schedule onecycle --runs-dir "$out/runs" --json >"$out/seed-$seed.json"
  done
  "$python" benchmarks/gpu_speed.py "$out"
}

export -f train speed
export out python device samples data

# -c /dev/null: pyproject.toml asks for plugins that this machine may not have.
check "device ledger against planted truth" 200 "$python" -m pytest -c /dev/null --rootdir . \
  -p no:cacheprovider --import-mode=importlib -o markers="gpu: needs a CUDA device" \
  -m gpu -v -s -rs tests/timing/test_gpu.py
check "memory of a training step, measured" 60 "$python" -m pytest -c /dev/null --rootdir . \
  -p no:cacheprovider --import-mode=importlib -o markers="gpu: needs a CUDA device" \
  -m gpu -v -s -rs tests/inspection/test_peak.py
check "census and roofs" 40 bash -c \
  '"$python" -m laptime inspect --device "$device" --json >"$out/inspect.json"'
check "speed: presets lab and fast, roofs, time to 94 %" 220 bash -c speed
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
