"""The engine's one worker thread: takes sequences in, and decodes them together."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from itertools import groupby

import torch

from memedit.engine.batch import Batch, prefill
from memedit.engine.loading import LoadedModel
from memedit.engine.sampling import adjusted, choose, scores
from memedit.engine.sequence import GeneratedSequence
from memedit.errors import MemeditError

logger = logging.getLogger(__name__)

EXPECTED_OUTPUT = 1024
"""Tokens that a sequence is assumed to add at most, when room for it is looked for."""
SCORED_AT_ONCE = 256
"""Prompt positions whose log-probabilities are computed in one go, to bound the memory."""


class EngineStopped(MemeditError):
    """The engine was closed, or failed, while it worked on the request."""

    code = "engine_stopped"
    status = 503


class Scheduler:
    """Continuous batching: whatever is waiting joins the running batch between two steps.

    A context manager.  Each instance has its own thread, queue and random numbers.
    """

    def __init__(
        self, loaded: LoadedModel, *, max_batch: int = 32, max_cached_tokens: int = 65_536
    ) -> None:
        """Prepare the engine for ``loaded``.

        Args:
            loaded: the model; used by this engine's thread alone while it runs.
            max_batch: sequences decoded at once.
            max_cached_tokens: columns times rows of the cache, as expected when a sequence joins.

        """
        self.loaded = loaded
        self._max_batch = max_batch
        self._max_cached_tokens = max_cached_tokens
        self._waiting: deque[GeneratedSequence] = deque()
        self._batches: list[Batch] = []
        self._wake = threading.Condition()
        self._closed = False
        self._generators: dict[GeneratedSequence, torch.Generator] = {}
        self._unseeded = torch.Generator(device=loaded.device)
        self._unseeded.manual_seed(int.from_bytes(os.urandom(8), "little"))
        self._thread = threading.Thread(target=self._run, name="memedit-engine", daemon=True)

    def __enter__(self) -> Scheduler:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread; sequences in flight fail with ``EngineStopped``."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether sequences are taken and worked on."""
        return self._thread.is_alive() and not self._closed

    def submit(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Queue sequences, first come first served; returns at once.

        Raises:
            EngineStopped: the engine does not run.

        """
        with self._wake:
            if not self.alive:
                raise EngineStopped("the engine is not running; restart it")
            self._waiting.extend(sequences)
            self._wake.notify()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                with torch.inference_mode():
                    self._turn()
        finally:
            with self._wake:
                self._closed = True
                left = [*self._waiting, *(s for batch in self._batches for s in batch.sequences)]
            for sequence in left:
                if sequence.active:
                    sequence.fail(EngineStopped("the engine was stopped"))

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._closed or self._waiting or self._batches):
                self._wake.wait()
            return not self._closed

    def _turn(self) -> None:
        """Take in what fits, then go one token on with everything that runs."""
        arrived = self._admitted()
        arrived.sort(key=lambda sequence: len(sequence.prompt))
        for _, same_length in groupby(arrived, key=lambda sequence: len(sequence.prompt)):
            self._begin(list(same_length))
        for batch in list(self._batches):
            try:
                batch.drop_inactive()
                if batch.sequences:
                    self._extend(batch.sequences, batch.step())
                batch.drop_inactive()
            except Exception as error:
                self._fail(batch.sequences, error)
                batch.sequences = []
        self._batches = [batch for batch in self._batches if batch.sequences]
        running = {sequence for batch in self._batches for sequence in batch.sequences}
        for gone in self._generators.keys() - running:
            del self._generators[gone]

    def _admitted(self) -> list[GeneratedSequence]:
        """Take from the queue what there is room for; at least one when nothing runs."""
        rows = [sequence for batch in self._batches for sequence in batch.sequences]
        width = max((self._expected_length(sequence) for sequence in rows), default=0)
        taken: list[GeneratedSequence] = []
        with self._wake:
            while self._waiting:
                sequence = self._waiting[0]
                width = max(width, self._expected_length(sequence))
                count = len(rows) + len(taken) + 1
                full = count > self._max_batch or count * width > self._max_cached_tokens
                if sequence.active and full and count > 1:
                    break
                self._waiting.popleft()
                if sequence.active:
                    taken.append(sequence)
        return taken

    @staticmethod
    def _expected_length(sequence: GeneratedSequence) -> int:
        return len(sequence.prompt) + min(sequence.params.max_tokens, EXPECTED_OUTPUT)

    def _begin(self, group: list[GeneratedSequence]) -> None:
        """Read prompts of one length, choose each one's first token, join the running batch."""
        for part in self._parts(group):
            try:
                all_logits = part[0].params.prompt_logprobs is not None
                logits, cache = prefill(self.loaded, part, all_logits=all_logits)
                if all_logits:
                    self._score_prompt(part[0], logits[0])
                batch = Batch(self.loaded, cache, part)
                for sequence in part:
                    if sequence.params.max_tokens == 0:
                        sequence.finish("length")
                self._extend(part, logits[:, -1])
                batch.drop_inactive()
                if not batch.sequences:
                    continue
                self._join(batch)
            except Exception as error:
                self._fail(part, error)

    def _join(self, batch: Batch) -> None:
        if not (self._batches and self.loaded.can_be_padded):
            self._batches.append(batch)
            return
        try:
            self._batches[0].join(batch)
        except Exception as error:  # half joined, nobody's cache is whole any more
            self._fail(self._batches.pop(0).sequences, error)
            raise

    def _parts(self, group: list[GeneratedSequence]) -> list[list[GeneratedSequence]]:
        """Split equally long prompts: those whose every logit is wanted are read alone."""
        alone = [[s] for s in group if s.params.prompt_logprobs is not None]
        rest = [s for s in group if s.params.prompt_logprobs is None]
        if not self.loaded.can_be_padded:
            return alone + [[sequence] for sequence in rest]
        size = max(1, 8_192 // len(group[0].prompt))
        return alone + [rest[start : start + size] for start in range(0, len(rest), size)]

    @staticmethod
    def _score_prompt(sequence: GeneratedSequence, logits: torch.Tensor) -> None:
        """Score the prompt's own tokens from its logits, [S, vocab]; the first has no score."""
        top = sequence.params.prompt_logprobs or 0
        following = sequence.prompt[1:]
        found = []
        for start in range(0, len(following), SCORED_AT_ONCE):
            tokens = following[start : start + SCORED_AT_ONCE]
            found += scores(logits[start : start + len(tokens)], tokens, top)
        sequence.score_prompt(found)

    def _extend(self, sequences: Sequence[GeneratedSequence], logits: torch.Tensor) -> None:
        """Choose and append every active sequence's next token; logits are [B, vocab]."""
        logits = logits.float()
        best = logits.argmax(-1).tolist()
        for row, sequence in enumerate(sequences):
            if not sequence.active:
                continue
            params = sequence.params
            token = best[row]
            if not (params.greedy and params.plain):
                adapted = adjusted(logits[row], params, sequence.prompt, sequence.output)
                token = choose(adapted, params, self._generator(sequence))
            wanted = params.logprobs
            score = None
            if wanted is not None:
                score = scores(logits[row : row + 1], [token], wanted)[0]
            sequence.append(token, score)

    def _generator(self, sequence: GeneratedSequence) -> torch.Generator:
        if sequence.params.seed is None:
            return self._unseeded
        if sequence not in self._generators:
            generator = torch.Generator(device=self.loaded.device)
            generator.manual_seed(sequence.params.seed)
            self._generators[sequence] = generator
        return self._generators[sequence]

    @staticmethod
    def _fail(sequences: Sequence[GeneratedSequence], error: Exception) -> None:
        logger.exception("a step of the engine failed; its %d sequences end", len(sequences))
        for sequence in sequences:
            if sequence.active:
                sequence.fail(error)
