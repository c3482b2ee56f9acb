"""Putting a list of weight deltas in force in a running vLLM, and never half of it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from memedit.adapters.vllm_plugin.library import AdapterLibrary
from memedit.adapters.vllm_plugin.served_checkpoint import ServedCheckpoint
from memedit.adapters.vllm_plugin.weights import whole_tensors
from memedit.errors import ConflictError, InvalidInputError, MemeditError
from memedit.modeling.delta import WeightDelta


class WeightsFailure(MemeditError):
    """The weights were not written."""

    code = "weights_failed"
    status = 500


class WeightPusher:
    """Knows which deltas are in the weights of one engine, and changes that."""

    def __init__(self, engine: Any, library: AdapterLibrary, base: ServedCheckpoint | None) -> None:
        """Take an engine whose weights are the checkpoint's.

        Args:
            engine: vLLM's ``EngineClient``.
            library: where deltas lie by name.
            base: the served checkpoint; ``None``: not a folder, and then nothing can be pushed.

        """
        self._engine = engine
        self._library = library
        self._base = base
        self._lock = asyncio.Lock()
        self._names: tuple[str, ...] = ()
        self._touched: frozenset[str] = frozenset()
        self._broken = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The deltas in force, in the order in which they were added."""
        return self._names

    async def put(self, names: Sequence[str]) -> dict[str, Any]:
        """Have these deltas in force, in this order, and no others.

        Running requests wait meanwhile and then go on with the new weights; what was computed
        with the old ones (the prefix cache, their own keys and values) is thrown away.

        Returns:
            ``deltas`` in force and the ``tensors`` that were written.

        Raises:
            InvalidInputError, NotFoundError, MissingResourceError: a delta does not fit, or is not
                there; nothing was changed.
            ConflictError: the engine is paused by another; nothing was changed.
            WeightsFailure: writing failed; the message says what is in force now.

        """
        async with self._lock:
            if self._broken:
                raise WeightsFailure(self._broken)
            if await self._engine.is_paused():
                raise ConflictError("vLLM is paused; resume it, then put the deltas in force")
            packed = (await self._all("memedit_state"))[0]["packed"]
            with tempfile.TemporaryDirectory(prefix="memedit-weights-") as folder:
                file = Path(folder) / "whole.safetensors"
                touched, written = await asyncio.to_thread(self._prepare, names, packed, file)
                if written:
                    await self._write(file)
            self._names, self._touched = tuple(names), touched
            return {"deltas": list(self._names), "tensors": written}

    def _prepare(
        self, names: Sequence[str], packed: Mapping[str, Sequence[str]], file: Path
    ) -> tuple[frozenset[str], list[str]]:
        """Write what is to be loaded into a file; everything that can be wrong is found here."""
        if not names and not self._touched:
            return frozenset(), []
        if self._base is None:
            raise InvalidInputError(
                "the served model is not a folder of its own (--model DIR), in which the unedited "
                "weights could be read"
            )
        config = self._engine.vllm_config
        if (said := config.model_config.quantization) is not None:
            raise InvalidInputError(f"the served weights are quantized ({said}); a delta is not")
        if (ranks := config.parallel_config.data_parallel_size) > 1:
            raise InvalidInputError(
                f"the server has {ranks} engines (data parallel), and could be left with different "
                "weights in them; serve a merged checkpoint"
            )
        if len(set(names)) < len(names):
            raise InvalidInputError(f"a delta is named twice in {list(names)}")
        deltas = []
        for name in names:
            try:
                delta = WeightDelta.load(self._library.folder(name))
                delta.check_base(self._base.fingerprint)
            except InvalidInputError as error:
                raise InvalidInputError(f"the delta {name!r} cannot be used: {error}") from error
            deltas.append(delta)
        dtype = config.model_config.dtype
        tensors = whole_tensors(self._base.checkpoint, deltas, self._touched, dtype, packed)
        if tensors:
            save_file(tensors, file)
        touched = frozenset(name for delta in deltas for name in delta.changes)
        return touched, sorted(tensors)

    async def _write(self, file: Path) -> None:
        """Load a file in all workers, or have them all load the checkpoint's weights instead."""
        # Keys and values that were computed with the old weights go, running requests' too.
        await self._engine.pause_generation(mode="keep", clear_cache=True)
        try:
            try:
                await self._all("memedit_write", str(file))
            except MemeditError as error:
                await self._restore(error)
        finally:
            if not self._broken:
                await self._engine.resume_generation()

    async def _restore(self, error: MemeditError) -> None:
        """Undo a failure on some worker, and raise it."""
        try:
            await self._all("memedit_restore")
        except MemeditError as worse:
            self._broken = (
                f"weights could not be written ({error}), and the checkpoint's could not be loaded "
                f"again ({worse}); vLLM stays paused, so that it gives no wrong answers: restart it"
            )
            logging.getLogger("vllm.memedit").critical(self._broken)
            raise WeightsFailure(self._broken) from worse
        self._names, self._touched = (), frozenset()
        raise WeightsFailure(
            f"weights could not be written ({error}); the checkpoint's own are in force again, "
            "without any delta"
        ) from error

    async def _all(self, call: str, *args: str) -> list[dict[str, Any]]:
        """Call all workers.

        Raises:
            WeightsFailure: one of them failed.

        """
        try:
            answers: list[dict[str, Any]] = await self._engine.collective_rpc(call, args=args)
        except Exception as error:
            raise WeightsFailure(f"{call}: {error}") from error
        failed = [str(one.get("error")) for one in answers if not one.get("ok")]
        if failed or not answers:
            raise WeightsFailure(f"{call}: {'; '.join(failed) or 'no worker answered'}")
        return answers
