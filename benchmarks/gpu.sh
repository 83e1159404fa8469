#!/usr/bin/env bash
# What one NVIDIA GPU makes of it: every measurement of benchmarks/gpu, in 8 to 9 minutes, as a JSON and a table.
#
#     benchmarks/gpu.sh --out gpu [--wheels DIR]    gpu/gpu.json and gpu/gpu.md
#     benchmarks/gpu.sh --device cpu --quick        all of it in small, to see that it runs
#
# It takes the `python3` at hand (or $PYTHON), with torch 2.11 or later; nothing is installed or fetched. DIR holds what
# only the comparison with SpikingJelly needs: the wheel of 0.0.0.0.14, the last with a CuPy back end, and the source of
# 2.0.0, whose CUDA kernels nvcc compiles. Wheels of packages that are missing: docs/speed.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TQDM_DISABLE=1 TOKENIZERS_PARALLELISM=false
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
