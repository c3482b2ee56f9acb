"""Muon over all matrices of a shape at once: a GPU waits for its launches, not for their work.

PyTorch's own computes in bfloat16, which takes minutes a step on a CPU that has to emulate it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class StackedMuon(torch.optim.Muon):
    """torch.optim.Muon's update, rounding aside, with one product for each shape of matrices.

    56 matrices with five Newton-Schulz iterations each are a thousand small products a step.
    Takes the same arguments, of which adjust_lr_fn has to be 'match_rms_adamw', and keeps the
    same state. Products are computed in `arithmetic`.
    """

    arithmetic = torch.bfloat16

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Updates the parameters from their gradients."""
        for group in self.param_groups:
            kinds: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    kinds[parameter.shape].append(parameter)
            for shape, parameters in kinds.items():
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                keep = 1 - group["lr"] * group["weight_decay"]
                updates = self._updates(parameters, group)
                for parameter, update in zip(parameters, updates.unbind(0), strict=True):
                    parameter.mul_(keep).sub_(update * rate)

    def _updates(self, parameters: list[Tensor], group: dict[str, Any]) -> Tensor:
        """Orthogonalised momenta [n, rows, columns] of parameters of one shape."""
        momentum = group["momentum"]
        ahead = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            grad = parameter.grad
            assert grad is not None  # only those with a gradient are taken
            buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
            ahead.append(grad.lerp(buffer, momentum) if group["nesterov"] else buffer)
        x = torch.stack(ahead).to(self.arithmetic)
        tall = x.shape[1] > x.shape[2]
        x = x.mT if tall else x
        x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
        a, b, c = group["ns_coefficients"]
        for _ in range(group["ns_steps"]):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return (x.mT if tall else x).float()
