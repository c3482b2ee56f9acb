"""The passes of kernels.c over tensors, compiled at first use with the machine's C compiler.

PyTorch's own operations between the matrix products took three quarters of a training step on a
CPU: each reads and writes memory anew, and converts to float and back. Only training needs this.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.c")
# Compiled with -ffast-math, so that the compiler takes glibc's vector exp; linked without it: a
# library linked with it makes its process round subnormal numbers to zero, everywhere and for
# good, as soon as it is loaded.
COMPILE = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fPIC", "-c")
LINK = ("-shared", "-lmvec", "-lm")


def compile_kernels(folder: Path | None = None) -> Path:
    """The shared library of kernels.c for this machine, compiled where it is not there yet.

    Raises:
        RuntimeError: no C compiler, or it failed.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"atlas-kernels-{os.getuid()}"
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("training Atlas needs a C compiler (cc or gcc); none was found")
    machine = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flags = next((line for line in machine.splitlines() if line.startswith("flags")), "")
    made_of = SOURCE.read_text() + str(COMPILE + LINK) + flags
    key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    library = folder / f"{key}.so"
    if library.exists():
        return library
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{key}.{os.getpid()}.part"
    compiled = part.with_suffix(".o")
    for command in (
        [compiler, *COMPILE, "-o", str(compiled), str(SOURCE)],
        [compiler, "-o", str(part), str(compiled), *LINK],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {ran.stderr.strip()}")
    compiled.unlink()
    part.replace(library)
    return library


def _at(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


class Kernels:
    """The functions of kernels.c; tensors are contiguous, bfloat16 where not said otherwise."""

    def __init__(self, library: Path | None = None):
        self._c = ctypes.CDLL(str(library or compile_kernels()))

    def _call(self, name: str, *arguments: int | float | Tensor | None) -> None:
        """Calls a function; integers are longs, floats floats, tensors the address of the data."""
        self._c[name](
            *(
                ctypes.c_long(a)
                if isinstance(a, int)
                else ctypes.c_float(a)
                if isinstance(a, float)
                else _at(a)
                for a in arguments
            )
        )

    def add_norm(
        self, x: Tensor, added: Tensor | None, scale: Tensor | None, gain: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, W] += scale [B] * added, in place; (x / rms(x) * gain, 1 / rms [B, T] float)."""
        width = x.shape[-1]
        rows, per = x.numel() // width, x.shape[-2]
        y = torch.empty_like(x)
        rstd = torch.empty(x.shape[:-1], dtype=torch.float32)
        self._call("add_norm", rows, width, x, added, scale, per, gain, eps, y, rstd)
        return y, rstd

    def norm_backward(
        self, x: Tensor, gain: Tensor, rstd: Tensor, gy: Tensor, gx: Tensor
    ) -> Tensor:
        """gx += the gradient through the norm, in place; the gradient of `gain`, float."""
        width = x.shape[-1]
        ggain = torch.zeros(width)
        self._call("norm_backward", x.numel() // width, width, x, gain, rstd, gy, gx, ggain)
        return ggain

    def swiglu(self, both: Tensor) -> Tensor:
        """silu(gate) * up of [..., 2H] -> [..., H]."""
        hidden = both.shape[-1] // 2
        out = both.new_empty((*both.shape[:-1], hidden))
        self._call("swiglu", out.numel() // hidden, hidden, both, out)
        return out

    def swiglu_backward(self, both: Tensor, gout: Tensor) -> Tensor:
        """Gradient of [..., 2H]."""
        hidden = gout.shape[-1]
        gin = torch.empty_like(both)
        self._call("swiglu_backward", gout.numel() // hidden, hidden, both, gout, gin)
        return gin

    def split_rope(
        self, qkv: Tensor, heads: int, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, 3W] -> q (scaled), k, v [B, heads, T, D], q and k turned by float [T, D/2]."""
        batch, length, width = qkv.shape
        dim = width // 3 // heads
        q, k, v = (qkv.new_empty((batch, heads, length, dim)) for _ in "qkv")
        scale = dim**-0.5
        self._call("split_rope", batch, length, heads, dim, qkv, cos, sin, scale, q, k, v)
        return q, k, v

    def split_rope_backward(
        self, gq: Tensor, gk: Tensor, gv: Tensor, cos: Tensor, sin: Tensor
    ) -> Tensor:
        """Gradient of [B, T, 3W]."""
        batch, heads, length, dim = gq.shape
        gqkv = gq.new_empty((batch, length, 3 * heads * dim))
        name, scale = "split_rope_backward", dim**-0.5
        self._call(name, batch, length, heads, dim, gq, gk, gv, cos, sin, scale, gqkv)
        return gqkv

    def causal_softmax(self, scores: Tensor, mentions: Tensor | None) -> Tensor:
        """Scores [B, heads, T, T] become probabilities, in place.

        mentions [B, T] int32: a token whose number is above 0 is seen by tokens of the same
        number alone.
        """
        batch, heads, length, _ = scores.shape
        self._call("causal_softmax", batch, heads, length, scores, mentions)
        return scores

    def softmax_backward(self, p: Tensor, gp: Tensor) -> Tensor:
        """The gradient of the probabilities becomes that of the scores, in place."""
        self._call("softmax_backward", p.numel() // p.shape[-1], p.shape[-1], p, gp)
        return gp

    def softmax_loss(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropies [n], float, of logits [n, vocab], which become the weighted gradient.

        target [n] int64, weight [n] float32; at most 65,536 words.
        """
        losses = torch.empty(len(logits), dtype=torch.float32)
        self._call("softmax_loss", len(logits), logits.shape[1], logits, target, weight, losses)
        return losses
