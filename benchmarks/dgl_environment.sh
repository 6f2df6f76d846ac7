#!/bin/sh
# Prepares an environment of its own for DGL 2.1.0, whose last wheel goes with torch 2.2.
#
#     sh benchmarks/dgl_environment.sh FOLDER
#
# Downloads about 3 GB (that torch is to be had with its CUDA libraries only) and takes 5 GB.
# FOLDER/bin/python then is what `--dgl` of benchmarks/run.py wants. Runs again after a failure.
set -eu
[ $# -eq 1 ] || { echo "usage: sh benchmarks/dgl_environment.sh FOLDER" >&2; exit 2; }
folder=$1
python=${PYTHON:-python3.11}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet \
    torch==2.2.2 torchdata==0.7.1 dgl==2.1.0 "numpy<2" "pandas<3" pydantic pyyaml "setuptools<80"

# The wheel brings its two helpers for torch 2.2.1 at most and looks for them under the exact name
# of the torch that runs; those for 2.2.1 fit 2.2.2.
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp "$site/dgl/graphbolt/libgraphbolt_pytorch_2.2.1.so" \
    "$site/dgl/graphbolt/libgraphbolt_pytorch_2.2.2.so"
cp "$site/dgl/tensoradapter/pytorch/libtensoradapter_pytorch_2.2.1.so" \
    "$site/dgl/tensoradapter/pytorch/libtensoradapter_pytorch_2.2.2.so"
DGLBACKEND=pytorch "$folder/bin/python" -c 'import dgl, torch; print(dgl.__version__, torch.__version__)'
