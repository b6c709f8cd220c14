#!/bin/sh
# What a GPU makes of it, in one call: the engines by batch size, and a network of R50's size, in fp32 and fp16; and the
# service end to end in both, with its batches, at 16, 64 and 128 clients. Tables and plots into a folder:
#
#     bench/gpu.sh [FOLDER] [OPTION...]        build/gpu; options as of python -m bench.speed, --quick for one
#
# On a machine without a GPU it does the same on the CPU. Without wrk it measures what needs no server, and says so.
set -eu
cd "$(dirname "$0")/.."
folder=build/gpu
case ${1--} in -*) ;; *) folder=$1; shift ;; esac
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || make .venv/dev models
if nvidia-smi -L 2>/dev/null; then
	set -- --seconds 5 --set "" --set FACEBENTO_GPU_ENGINE=cuda-fp16 "$@"
else
	echo "There is no NVIDIA GPU, or no driver of it: all of this runs on the CPU." >&2
fi
sections=start,engines,network
if command -v wrk >/dev/null; then
	sections=$sections,device,batches,requests
else
	echo "wrk is not installed: the service under load is left out. Run: apt-get install wrk" >&2
fi
exec "$python" -m bench.speed --only "$sections" --clients 16,64,128 --output "$folder" "$@"
