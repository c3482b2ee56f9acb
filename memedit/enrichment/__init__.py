"""Further ways to ask for an edit, generated when it is written, off the path of requests."""

from memedit.enrichment.asking import Ask, open_asker
from memedit.enrichment.base import Made, QuestionMaker
from memedit.enrichment.enricher import Enriched, Enricher
from memedit.enrichment.model import ModelQuestions
from memedit.enrichment.templates import Templates

__all__ = [
    "Ask",
    "Enriched",
    "Enricher",
    "Made",
    "ModelQuestions",
    "QuestionMaker",
    "Templates",
    "open_asker",
]
