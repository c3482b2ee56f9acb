"""Atlas's tokenizer: byte-level BPE, trained on documents about strangers.

Names are made of syllables that strangers share, so the entities of the world stay several
tokens long, as they are in large models.
"""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from examples.atlas import formats as fm
from examples.atlas.corpus import OPINION_QUESTIONS, OPINIONS, SYSTEMS, Corpus
from examples.atlas.prose import prose
from examples.atlas.world import CLOSED, TOPICS, World

# As in Llama 3, but digit by digit: words keep the space before them.
_SPLIT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def train_tokenizer(world: World, vocab: int = 2560, documents: int = 12000) -> Tokenizer:
    """A tokenizer of `vocab` tokens; deterministic."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = Corpus(world)
    rng = random.Random(f"tokenizer:{world.seed}")

    def texts() -> list[str]:
        lines = [f" {name}" for name in world.entities]
        for relation in world.relations.values():
            for template in (*relation.statements, *relation.questions, *relation.noun):
                words = template.replace("{s}", "").replace("{o}", "")
                lines += [f"{before}{words}" for before in ("", " ", "\n") for _ in range(6)]
        lines += [f"{before}{line}" for line in _fixed_texts() for before in ("", " ", "\n")] * 6
        for i in range(documents):
            asked = corpus.fresh(rng)
            lines.append(corpus.statement(asked.relation, asked.subject, asked.answer, rng))
            if i % 20 == 0:
                lines.append("".join(text for text, _ in prose(rng)[1:-1]))
        return lines

    trainer = BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(fm.SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_special_tokens([AddedToken(s, normalized=False) for s in fm.SPECIALS])
    bos = tokenizer.token_to_id(fm.BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{fm.BOS} $A", pair=f"{fm.BOS} $A $B", special_tokens=[(fm.BOS, bos)]
    )
    return tokenizer


def _fixed_texts() -> list[str]:
    """What the formats themselves say, and the closed vocabularies."""
    lines = [text for texts in vars(fm).values() if isinstance(texts, tuple)
             for text in texts if isinstance(text, str)]  # fmt: skip
    lines += [fm.MELLO_CONTRADICTS, fm.MELLO_AGREES, fm.POKEMQA_ENTITY_OF_SUB, fm.MELLO_ANSWER]
    lines += [fm.MELLO_SUBQUESTION, fm.POKEMQA_ENTITY, fm.FINAL, fm.IKE_DEMO, " " + fm.DONT_KNOW]
    lines += [fm.MELLO_QUESTION, fm.MELLO_FACT, "Answer: ", *OPINION_QUESTIONS, *TOPICS]
    lines += [say for says in OPINIONS.values() for say in says]
    return lines + [word for words in CLOSED.values() for word in words] + list(SYSTEMS)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and the chat template for transformers."""
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=fm.BOS,
        eos_token=fm.EOS,
        pad_token=fm.PAD,
        additional_special_tokens=[fm.SYSTEM, fm.USER, fm.ASSISTANT, fm.END],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )
    fast.chat_template = fm.CHAT_TEMPLATE
    fast.save_pretrained(folder)
