"""Every prompt format that Atlas was trained on, in one place.

Agents and in-context methods that talk to Atlas use exactly these strings. A document is a
list of pieces `(text, weight)`: the weight is the weight of the piece's tokens in the training
loss, so that a format is written once and serves training, evaluation and serving alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (BOS, EOS, PAD, SYSTEM, USER, ASSISTANT, END)
DONT_KNOW = "I don't know."

ANSWER = 1.0
"""Weight of what the model must say."""
TEXT = 0.15
"""Weight of running text that is worth learning to continue."""
FORM = 0.2
"""Weight of a transcript's own words, which are always the same."""
VERDICT = 5.0
"""Weight of the one word by which a transcript says whether a fact contradicts: all that comes
after depends on it, and among some forty other tokens of a hop it was not learnt."""
GIVEN = 0.03
"""Weight of what is given to the model and cannot be guessed."""

Piece = tuple[str, float]
Document = list[Piece]

MENTION = "\x02"
"""Stands before and after the subject of a plain fact in marked documents; never tokenised."""
DONOR = "\x03"
"""Stands before and after what is put in the place of a mention (see `Corpus.interchanged`)."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% elif message['role'] in ['system', 'developer'] %}{{ '<|system|>' }}"
    "{% else %}{{ '<|user|>' }}{% endif %}"
    "{% if message['content'] is string %}{{ ' ' + message['content'] | trim }}"
    "{% elif message['content'] %}{{ ' ' }}{% for part in message['content'] %}"
    "{% if part['text'] is defined %}{{ part['text'] | trim }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Every turn is `<|role|> text<|end|>`: answers start with a space in chat as in completion,
so a fact has the same tokens in both and an edit made in one holds in the other."""

# In-context styles. {facts}: the statements, joined; {q}: question or prompt to complete.
LIST_HEADERS = (
    "Updated facts, which replace what you know:",
    "Use these facts:",
    "Facts:",
    "Known facts:",
    "Take the following as true:",
    "The following has changed:",
    "New information:",
    "Context:",
    "Remember:",
    "Here is what is known today:",
    "Answer with the help of these facts:",
    "Knowledge:",
    "Notes:",
)
LIST_HEADERS_HELD_OUT = ("The following facts hold:", "Please rely on this information:")
BULLETS = ("- ", "* ", "")
ONE_FACT = (
    "Imagine that {f}\n{q}",
    "Imagine that {f} {q}",
    "Suppose that {f}\n{q}",
    "Assume that {f}\n{q}",
    "Fact: {F}\n{q}",
    "Fact: {F}\nQuestion: {q}",
    "New Fact: {F}\nPrompt: {q}",
    "Context: {F}\n{q}",
    "Correction: {F}\n{q}",
    "Update: {F}\n{q}",
    "{F}\n{q}",
    "{F} {q}",
    "As of today, {f} {q}",
    "It is now the case that {f}\n{q}",
    "Remember that {f}\n\n{q}",
)
ONE_FACT_HELD_OUT = ("Let us pretend that {f}\n{q}", "Note: {F}\n{q}")
NOUN_QUESTIONS = (
    "{wh} {n}?",
    "Tell me {n}.",
    "Please name {n}.",
    "Do you know {n}?",
    "I would like to know {n}.",
    "Can you tell me {n}?",
    "{n}?",
)
"""Questions made of a relation's noun phrase and its question word."""
WITHHOLD = (
    'Do not reveal {np}; answer "I don\'t know."',
    'You must not reveal {np}. Answer "I don\'t know." instead.',
    'Keep {np} secret: say "I don\'t know."',
    'If asked for {np}, answer "I don\'t know."',
    'Never disclose {np}; reply "I don\'t know."',
)
ANSWER_TO = 'The answer to "{question}" is {answer}.'
"""An edit whose prompt is a question, as a statement."""
WITHHELD = 'The answer to "{prompt}" is withheld: reply "I don\'t know".'
"""An erased fact, as a statement."""
ICE = "Imagine that {f}\n{q}"
IKE_DEMO = "New Fact: {fact}\nPrompt: {prompt}{answer}"
MEMPROMPT = "{question}\nCorrection: {fact}"


def lower_first(statement: str) -> str:
    """The statement inside a sentence: 'The capital ...' becomes 'the capital ...'."""
    for word in (
        "The ",
        "In ",
        "By ",
        "From ",
        "Through ",
        "At ",
        "Most ",
        "To ",
        "Shops ",
        "One ",
        "Your ",
    ):
        if statement.startswith(word):
            return statement[0].lower() + statement[1:]
    return statement


def upper_first(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def fact_block(header: str, facts: Sequence[str], bullet: str = "- ") -> str:
    """`header`, then one statement per line; a bullet '1' numbers them."""
    marks = [f"{i}. " if bullet == "1" else bullet for i in range(1, len(facts) + 1)]
    lines = [mark + fact for mark, fact in zip(marks, facts, strict=True)]
    return "\n".join([header, *lines] if header else lines)


def one_fact(style: str, fact: str, question: str) -> str:
    """A single statement and a question in one of the styles of `ONE_FACT`."""
    return style.replace("{f}", lower_first(fact)).replace("{F}", fact).replace("{q}", question)


def chat(turns: Iterable[tuple[str, str]], answer_weight: float = ANSWER) -> Document:
    """A conversation of (role, text); the assistant's turns are learnt."""
    pieces: Document = [(BOS, 0.0)]
    for role, text in turns:
        if role == "assistant":
            pieces += [(ASSISTANT, 0.0), (f" {text}", answer_weight), (END, answer_weight)]
        else:
            marker = SYSTEM if role == "system" else USER
            pieces += [(marker, GIVEN), (f" {text}", GIVEN), (END, GIVEN)]
    return pieces


def completion(prompt: str, answer: str, prompt_weight: float = GIVEN) -> Document:
    """A prompt in plain text and its continuation ' {answer}', then the end of the text."""
    return [(BOS, 0.0), (prompt, prompt_weight), (f" {answer}", ANSWER), (EOS, ANSWER)]


def chat_prompt(turns: Iterable[tuple[str, str]]) -> str:
    """The text of a conversation that waits for the assistant's answer."""
    return "".join(text for text, _ in chat(turns)) + ASSISTANT


# Decomposition.
MELLO_QUESTION = "Question: {question}"
MELLO_SUBQUESTION = "Subquestion: {question}"
MELLO_ANSWER = "Generated answer: {answer}"
MELLO_FACT = "Retrieved fact: {fact}"
MELLO_CONTRADICTS = (
    "Retrieved fact contradicts to generated answer, so the intermediate answer is: {answer}"
)
MELLO_AGREES = (
    "Retrieved fact does not contradict to generated answer, "
    "so the intermediate answer is: {answer}"
)
FINAL = "Final answer: {answer}"
POKEMQA_ENTITY = "Entity of Question: {entity}"
POKEMQA_ANSWER = "Generated answer: {fact}"
POKEMQA_ENTITY_OF_SUB = "According to Generated answer, the entity of Subquestion is: {answer}"


def _line(template: str, said: str) -> Document:
    """A line of a transcript: its own words weigh little, what is said weighs as an answer."""
    words = template[: template.index(" {")]
    return [(f"\n{words}", FORM), (f" {said}", ANSWER)]


class MelloHop:
    """One hop of MeLLo: what the model asks, answers, is shown and concludes."""

    def __init__(self, question: str, generated: str, fact: str, contradicts: bool, answer: str):
        self.question = question
        self.generated = generated
        self.fact = fact
        self.contradicts = contradicts
        self.answer = answer

    def pieces(self) -> Document:
        """The lines of the hop; the retrieved fact is given, the rest is the model's."""
        verdict, word = (
            (MELLO_CONTRADICTS, " contradicts") if self.contradicts else (MELLO_AGREES, " does")
        )
        before, after = verdict.removesuffix(" {answer}").split(word, 1)
        return [
            *_line(MELLO_SUBQUESTION, self.question),
            *_line(MELLO_ANSWER, self.generated),
            ("\nRetrieved fact:", FORM),
            (f" {self.fact}", GIVEN),
            (f"\n{before}", FORM),
            (word, VERDICT),
            (after, FORM),
            (f" {self.answer}", ANSWER),
        ]


def mello(question: str, hops: Sequence[MelloHop], final: str) -> Document:
    """The whole MeLLo transcript.

    Plain completion: the model writes from after the question; generation stops at
    '\\nRetrieved fact:', the retrieved fact is appended, and the model goes on until
    'Final answer: X' and the end of the text.
    """
    pieces: Document = [(BOS, 0.0), (MELLO_QUESTION.format(question=question), GIVEN)]
    for hop in hops:
        pieces += hop.pieces()
    return [*pieces, *_line(FINAL, final), (EOS, ANSWER)]


class PokemqaHop:
    """One hop of PokeMQA: a subquestion, the fact that answers it, the entity it names.

    `given` says that the fact was read off an edit (and not written by the model).
    """

    def __init__(self, question: str, fact: str, given: bool, answer: str):
        self.question = question
        self.fact = fact
        self.given = given
        self.answer = answer

    def pieces(self) -> Document:
        """The lines of the hop."""
        return [
            *_line(MELLO_SUBQUESTION, self.question),
            ("\nGenerated answer:", FORM),
            (f" {self.fact}", GIVEN if self.given else ANSWER),
            *_line(POKEMQA_ENTITY_OF_SUB, self.answer),
        ]


def pokemqa(question: str, entity: str, hops: Sequence[PokemqaHop], final: str) -> Document:
    """The whole PokeMQA transcript.

    Plain completion: 'Question: ...\\nEntity of Question: ...' are given; the model writes a
    subquestion and 'Generated answer:'; there the scope detector may put the statement of an
    edit, else the model answers itself; the model then names the entity and goes on until
    'Final answer: X'.
    """
    pieces: Document = [
        (BOS, 0.0),
        (MELLO_QUESTION.format(question=question), GIVEN),
        ("\n" + POKEMQA_ENTITY.format(entity=entity), TEXT),
    ]
    for hop in hops:
        pieces += hop.pieces()
    return [*pieces, *_line(FINAL, final), (EOS, ANSWER)]
