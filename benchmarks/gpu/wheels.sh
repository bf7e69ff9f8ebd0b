#!/usr/bin/env bash
# Packs .kit: what a machine with a GPU and no registry lacks for `python3 -m benchmarks.gpu` (docs/benchmarks.md).
#
#   benchmarks/gpu/wheels.sh [PYTHON_VERSION]     the GPU machine's, 3.12 by default
#
# It runs where a registry is, on Linux and x86-64. .kit travels with the checkout; there, `python3 -m benchmarks.gpu` installs
# it into .site before it begins. The GPU machine is expected to have torch with CUDA and Triton, numpy, scipy, numba, h5py,
# pytest 9, hypothesis, setuptools and wheel; nvcc and ninja for EXODUS; JAX for its row.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:-3.12}
python=${PYTHON:-python3}
pip=("$python" -m pip --disable-pip-version-check)
rm -rf .kit
mkdir -p .kit/wheels .kit/sources

# At the versions that are tested, and without their dependencies: the list is whole, and has neither torch nor numpy.
names=(
    # the base: what a store needs
    zarr numcodecs pcodec obstore rfc8785 xxhash google-crc32c donfig pyyaml platformdirs
    pydantic pydantic-core typing-inspection annotated-types
    typer click annotated-doc shellingham rich markdown-it-py mdurl
    # training
    sinabs samna nir nirtorch pbr networkx tensorboard tensorboard-data-server grpcio protobuf werkzeug absl-py markdown
    # peers
    tonic importrosbag tqdm requests urllib3 idna charset-normalizer certifi spikingjelly==2.0.0 loguru
    # plots of the seed's page, which Sinabs and SpikingJelly import too
    matplotlib contourpy cycler fonttools kiwisolver pillow pyparsing python-dateutil six
    # tests
    psutil pytest-timeout pytest-xdist execnet
)
platforms=()
for tag in manylinux1 manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_27 manylinux_2_28 manylinux_2_31 manylinux_2_34; do
    platforms+=(--platform "${tag}_x86_64")
done
# torch and numpy are the other machine's business, and pip would look for those of constraints.txt.
grep -v '^torch==' constraints.txt >.kit/constraints.txt
download() {
    "${pip[@]}" download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$version" \
        "${platforms[@]}" -c .kit/constraints.txt -d .kit/wheels "$@"
}
missing=()
# All at once is ten times as fast; one at a time says which of them can't be had.
download "${names[@]}" 2>/dev/null || for name in "${names[@]}"; do download "$name" || missing+=("$name"); done
rm .kit/constraints.txt

# The project too: the command line finds its sub-commands in the metadata of a wheel.
"${pip[@]}" wheel --quiet --no-deps -w .kit/wheels .

# EXODUS has a source distribution only, and its setup.py imports torch.
"$python" tests/train/exodus_source.py --archive .kit/sources || missing+=(sinabs-exodus)

du -sh .kit
if [ ${#missing[@]} -gt 0 ]; then
    echo "not to be had for Python $version, so rows that need them will say so: ${missing[*]}" >&2
    exit 1
fi
