"""One command repeats a run, whoever went on with it."""

from __future__ import annotations

from memedit.evaluation.report.repeat import repeated


def test_one_command_is_repeated_as_it_was() -> None:
    command = "memedit eval --method none,ice --model 'a b' --report out --compare old"
    assert repeated([command], ["none", "ice"]) == command
    assert repeated([command, command], ["none", "ice"]) == command
    assert repeated([], ["none"]) == ""
    assert repeated(["memedit 'eval"], ["none"]) == "memedit 'eval", "not a shell's words"


def test_several_commands_become_one_with_all_methods() -> None:
    commands = [
        "memedit eval --method none,ice --scope always --model m --report out",
        "memedit eval --model m --method=ft-m --report out --compare old",
    ]
    assert repeated(commands, ["none", "ice+always", "ft-m:layers=[1,2]"]) == (
        "memedit eval --method 'none,ice+always,ft-m:layers=[1,2]' --model m --report out"
    )


def test_keys_are_not_shown() -> None:
    command = "memedit eval --proxy http://h --key abc --admin-key=def --report out"
    assert repeated([command], ["none"]) == (
        'memedit eval --proxy http://h --key "$MEMEDIT_INFERENCE_KEY" '
        '--admin-key="$MEMEDIT_KEY" --report out'
    )
