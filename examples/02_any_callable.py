"""Score the answers of any async callable: here a stand-in for a chain of yours. Needs nothing but invent-chain.

python examples/02_any_callable.py
"""

import asyncio

from invent_chain import InvEntropy

FACTS = {"Palau": "Ngerulmud", "France": "Paris"}


async def chain(question: str, temperature: float | None = None) -> str:
    """Know two capitals; guess at anything else, differently for each wording."""
    for country, capital in FACTS.items():
        if country in question:
            return capital
    return f"City number {len(question)} at temperature {temperature}"


async def main() -> None:
    scorer = InvEntropy(chain, n=5, r=2)
    for question in ("What is the capital of Palau?", "What is the capital of Tuvalu?"):
        report = await scorer.ascore(question)
        print(f"{question} {report.answer}: uncertainty {report.score:.2f}, {report.decision.action}")


asyncio.run(main())
