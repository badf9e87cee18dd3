"""Build the lexicon that GAAP substitutes from, out of WordNet's database files.

    python scripts/build_lexicon.py WORDNET_DICT_DIR invent_chain/perturb/data/lexicon.txt.gz

WORDNET_DICT_DIR holds `data.noun`, `index.noun`, `noun.exc`, `cntlist.rev` and their siblings (Debian: `wordnet-base`
puts WordNet 3.0 into /usr/share/wordnet). The same input gives the same bytes.

The file is gzipped text in three sections, separated by an empty line. Numbers are line numbers of the first section.

    synsets     lemma,lemma,...|hypernyms|hyponyms          `*` in front marks an instance (a proper name)
                                                            words that insult are left out; a synset may be empty
    lemmas      lemma TAB pos:count:synsets ...             sorted; pos is n, v, a, r; count: how often it was tagged
    exceptions  pos TAB inflected TAB lemma                 irregular forms
"""

from __future__ import annotations

import gzip
import re
import sys
from collections import defaultdict
from pathlib import Path

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
POS_OF_SENSE_TYPE = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
HYPERNYM, HYPONYM, INSTANCE, USAGE = "@", "~", "@i", ";u"
RUDE_USAGES = {"ethnic_slur", "disparagement", "obscenity"}
RUDE_GLOSS = re.compile(r"\b(ethnic slur|offensive|vulgar|obscene|derogatory|disparaging)\b")
RUDE_WORD = re.compile(r"shit|fuck|cunt|nigg(?!ard|le|ling)|whore|\barse\b|asshole|bastard|bitch|slut")

Key = tuple[str, int]


def read_synsets(folder: Path) -> dict[Key, tuple[list[str], list[tuple[str, Key]]]]:
    """Return for each (pos, offset) its lemmas, without those that insult, and its (symbol, target) pointers."""
    synsets: dict[Key, tuple[list[str], list[tuple[str, Key]], str]] = {}
    for pos, name in FILES.items():
        for line in (folder / f"data.{name}").read_text(encoding="ascii").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields = line.split(" ")
            count = int(fields[3], 16)
            lemmas = [lemma.split("(")[0] for lemma in fields[4 : 4 + 2 * count : 2]]
            at = 4 + 2 * count
            pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
            gloss = line.partition("| ")[2]
            synsets[pos, int(fields[0])] = (
                lemmas,
                [
                    (symbol, (target_pos.replace("s", "a"), int(offset)))
                    for symbol, offset, target_pos in zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True)
                ],
                gloss,
            )
    rude = {key for key, (lemmas, _, _) in synsets.items() if RUDE_USAGES & set(lemmas)}
    polite = {}
    for key, (lemmas, pointers, gloss) in synsets.items():
        insults = any(symbol == USAGE and target in rude for symbol, target in pointers)
        if insults or RUDE_GLOSS.search(remark(gloss)):
            lemmas = []
        polite[key] = [lemma for lemma in lemmas if not RUDE_WORD.search(lemma.casefold())], pointers
    return polite


def remark(gloss: str) -> str:
    """Return what a gloss says about the use of a word: a leading parenthesis, or "offensive term for ..."."""
    found = re.match(r"\([^)]*\)|(an? |extremely )*(offensive|derogatory|disparaging) (term|name|word)", gloss)
    return found.group() if found else ""


def read_tag_counts(folder: Path) -> dict[tuple[str, str], int]:
    """Return how often each (lemma, pos) was tagged in WordNet's corpora."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for line in (folder / "cntlist.rev").read_text(encoding="ascii").splitlines():
        sense_key, _, count = line.split(" ")
        lemma, _, rest = sense_key.partition("%")
        counts[lemma, POS_OF_SENSE_TYPE[rest[0]]] += int(count)
    return counts


def build(folder: Path) -> str:
    """Return the text of the lexicon."""
    synsets = read_synsets(folder)
    tag_counts = read_tag_counts(folder)
    number = {key: i for i, key in enumerate(synsets)}

    def targets(pointers: list[tuple[str, Key]], wanted: str) -> str:
        return ",".join(str(number[target]) for symbol, target in pointers if symbol == wanted)

    first = []
    for lemmas, pointers in synsets.values():
        instance = any(symbol == INSTANCE for symbol, _ in pointers)
        first.append(
            f"{'*' if instance else ''}{','.join(lemmas)}|{targets(pointers, HYPERNYM)}|{targets(pointers, HYPONYM)}"
        )
    entries: dict[str, list[str]] = defaultdict(list)
    exceptions = []
    for pos, name in FILES.items():
        for line in (folder / f"index.{name}").read_text(encoding="ascii").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split()
            senses = ",".join(str(number[pos, int(offset)]) for offset in fields[-int(fields[2]) :])
            entries[fields[0]].append(f"{pos}:{tag_counts[fields[0], pos]}:{senses}")
        for line in (folder / f"{name}.exc").read_text(encoding="ascii").splitlines():
            inflected, *lemmas = line.split()
            exceptions += [f"{pos}\t{inflected}\t{lemma}" for lemma in lemmas]
    second = [f"{lemma}\t{' '.join(entries[lemma])}" for lemma in sorted(entries)]
    return "\n\n".join("\n".join(section) for section in (first, second, exceptions))


def main() -> None:
    """Read the database, write the lexicon."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    text = build(folder)
    out.write_bytes(gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0))
    print(f"{out}: {text.count(chr(10)):,} lines, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
