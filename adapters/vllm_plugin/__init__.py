"""What memedit adds to a running vLLM: adapters found by name, GRACE, and changes of its weights.

vLLM finds ``register`` and ``MemeditRoutes`` by entry points (``pyproject.toml``) once memedit is
installed in its environment, and calls the first in each of its processes.  Nothing is needed
there beside what vLLM itself brings, and nothing is changed in a vLLM that it was not made for.

What has no environment variable or setting that asks for it, does nothing:

- ``MEMEDIT_ADAPTER_LIBRARY``: the folder in which adapters and weight deltas lie, by their names.
- ``--additional-config '{"memedit": {"grace_layers": [4], "grace_capacity": 256}}'``: where GRACE
  adapters may look things up, and how many entries each may have.
- ``MEMEDIT_PLUGIN_KEY``, with ``VLLM_PLUGINS=memedit``: the routes under ``/v1/memedit``.
"""

from __future__ import annotations

import logging
import os

if __name__ != "memedit.adapters.vllm_plugin":
    raise ImportError(f"imported as {__name__!r}; import 'memedit.adapters.vllm_plugin' instead")

__all__ = ["register"]


def register() -> None:
    """Add to the vLLM of this process what memedit needs; called again, it changes nothing.

    Of another vLLM than the one that this was made for, nothing is changed, and why is logged.
    """
    from memedit.adapters.vllm_plugin.seams import what_does_not_fit

    # Under vLLM's own logger, which is the one that is set up in all of its processes.
    log = logging.getLogger("vllm.memedit")
    wrong = what_does_not_fit()
    if wrong:
        log.error("memedit's plugin is NOT active: %s", wrong)
        return

    from memedit.adapters.vllm_plugin import cpu_lora, lora_slots, resolver, worker
    from memedit.adapters.vllm_plugin.library import LIBRARY

    cpu_lora.fix_base_rows()
    lora_slots.carry_codebooks()
    worker.add_remote_calls()
    root = os.environ.get(LIBRARY, "")
    if root:
        resolver.find_adapters_in(root)
