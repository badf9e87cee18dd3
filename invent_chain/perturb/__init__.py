"""Making siblings of a question."""

from invent_chain.perturb.adapt import ReplicationOnly, as_perturber
from invent_chain.perturb.gaap import GAAP
from invent_chain.perturb.lexicon import Lexicon
from invent_chain.perturb.paraphrase import Paraphrase, parse_paraphrases

__all__ = ["GAAP", "Lexicon", "Paraphrase", "ReplicationOnly", "as_perturber", "parse_paraphrases"]
