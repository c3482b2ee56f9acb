"""The look-up as an operation of torch's, which torch.compile calls and does not look into.

No postponed annotations here: torch makes the operation's schema of them.
"""

import torch
from torch import Tensor

NAME = "memedit_grace_look_up"


def look_up(states: Tensor, out: Tensor, table: str) -> None:
    """Look up in the ``GraceTable`` that vLLM's forward context has under a name; changes ``out``.

    Args:
        states: [T, width], what the MLP took in.
        out: [T, width], what it gave out.
        table: the name.

    """
    from vllm.forward_context import get_forward_context

    get_forward_context().no_compile_layers[table].look_up(states, out)


def _traced(states: Tensor, out: Tensor, table: str) -> None:
    """Stand in for ``look_up`` where there are shapes and no numbers."""


def define_operation() -> None:
    """Define ``torch.ops.vllm.memedit_grace_look_up``; a second time, it is the same."""
    from vllm.utils.torch_utils import direct_register_custom_op

    if not hasattr(torch.ops.vllm, NAME):
        direct_register_custom_op(NAME, look_up, mutates_args=["out"], fake_impl=_traced)
