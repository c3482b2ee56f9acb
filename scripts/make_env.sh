#!/usr/bin/env bash
# Make memedit's own virtual environment: .venv, with everything that its tests need.
#
# Idempotent: a finished environment carries a stamp of pyproject.toml and is left alone.
#
#   MEMEDIT_PYTHON       the Python to build with (default: python3.11, or the next newer one)
#   MEMEDIT_TORCH_INDEX  a package index that has torch's CPU builds, where the configured one has
#                        not (default: https://download.pytorch.org/whl/cpu)
set -euo pipefail

readonly name="env"
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly env_dir="$repository/.venv"
readonly stamp="$env_dir/.stamp"
readonly TORCH="2.13.0"
# shellcheck source=scripts/environment.sh
source "$repository/scripts/environment.sh"

stamp_text="torch $TORCH pyproject $(sha256sum < "$repository/pyproject.toml" | cut -c 1-16)"
readonly stamp_text
if [[ -f "$stamp" && "$(cat "$stamp")" == "$stamp_text" ]]; then
    exit 0
fi

started=$SECONDS
if [[ ! -x "$env_dir/bin/python" ]]; then
    python="$(find_python "3, 11" "3, 15")"
    say "making $env_dir with $("$python" -V 2>&1)"
    make_venv "$python"
fi
if ! "$env_dir/bin/python" -c "import torch; assert torch.__version__.split('+')[0] == '$TORCH'" \
    2> /dev/null; then
    install_torch "$TORCH"
fi
say "memedit and what it needs"
pip_quietly install -e "$repository[dev]" || fail "memedit's requirements could not be installed"
printf '%s\n' "$stamp_text" > "$stamp"
say "done in $((SECONDS - started)) s, $(du -sh "$env_dir" | cut -f 1)"
