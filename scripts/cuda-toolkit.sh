#!/usr/bin/env bash
# The CUDA toolkit, out of PyPI's wheels, for `cargo check --features cuda` on a machine without a GPU.
#
#   eval "$(scripts/cuda-toolkit.sh target/cuda)"      # sets CUDA_HOME, PATH and CUDA_COMPUTE_CAP
#   cargo check --release -p server --features cuda
#
# Needs python3 with pip, and a C++ compiler that nvcc knows. Only the wheels' files are used, not Python.
set -euo pipefail

folder=$(realpath -m "${1:-target/cuda}")
version=13.0
packages=(
  "nvidia-cuda-nvcc==$version.*" "nvidia-nvvm==$version.*" "nvidia-cuda-crt==$version.*" "nvidia-cuda-runtime==$version.*"
  "nvidia-cuda-cccl==$version.*" "nvidia-cuda-nvrtc==$version.*" nvidia-cublas==13.* nvidia-curand==10.4.* nvidia-cudnn-cu13
)
if [ ! -e "$folder/.complete" ]; then
  mkdir -p "$folder/wheels"
  "${PYTHON:-python3}" -m pip install --quiet --no-deps --target "$folder/wheels" --upgrade "${packages[@]}" >&2
  touch "$folder/.complete"
fi
home=$folder/wheels/nvidia/cu13
chmod +x "$home"/bin/* "$home"/nvvm/bin/* 2>/dev/null || true
# Linkers ask for lib64 and for names without a version.
[ -e "$home/lib64" ] || ln -s lib "$home/lib64"
for library in "$home"/lib/*.so.*; do
  plain=${library%%.so.*}.so
  [ -e "$plain" ] || ln -s "$(basename "$library")" "$plain"
done
echo "export CUDA_HOME='$home' CUDA_PATH='$home' CUDA_ROOT='$home' CUDA_TOOLKIT_ROOT_DIR='$home'"
echo "export PATH='$home/bin':\"\$PATH\""
# Of an H100; without a GPU nobody can be asked.
echo "export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90}"
