# Shared by the scripts that make virtual environments; sourced, after env_dir and name are set.
# shellcheck shell=bash disable=SC2154

say() { printf '%s: %s\n' "$name" "$*"; }
fail() {
    printf '%s: FAILED: %s\n' "$name" "$*" >&2
    exit 1
}

# pip's words are shown only when it fails, without the indexes that it may not use.  Nothing is
# compiled to bytecode: most files are never imported, and those that are do it themselves.
pip_quietly() {
    local words
    if ! words="$("$env_dir/bin/python" -m pip --disable-pip-version-check "$@" --no-compile -q 2>&1)"; then
        grep -v -E 'Location .* is ignored|^Looking in' <<< "$words" >&2 || true
        return 1
    fi
}

# Prints a Python between the two versions, $1 inclusive and $2 exclusive, e.g. '3, 11' '3, 15'.
find_python() {
    local candidate
    for candidate in ${MEMEDIT_PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
        if "$candidate" -c "import sys; raise SystemExit(not ($1) <= sys.version_info[:2] < ($2))" \
            2> /dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "no Python from ($1) up to, not including, ($2); install one or name it in MEMEDIT_PYTHON"
}

make_venv() {
    rm -rf "$env_dir"
    "$1" -m venv "$env_dir" || fail "'$1 -m venv' did not work; install the package python3-venv"
}

# Installs torch $1 as a CPU build: a plain 'torch' may be a CUDA build with gigabytes of libraries.
install_torch() {
    local torch="torch==$1"
    case "$(uname -sm)" in
        "Linux x86_64" | "Linux aarch64") torch="$torch+cpu" ;;
    esac
    say "$torch"
    pip_quietly install "$torch" 2> /dev/null \
        || pip_quietly install "$torch" \
            --index-url "${MEMEDIT_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \
        || fail "$torch is on no configured index; name one that has it in MEMEDIT_TORCH_INDEX"
}
