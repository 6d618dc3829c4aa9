"""Sentences of the simulated benchmark: running English that installed packages carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nfas_lightning.errors import InputError

# licenses of this package's own dependencies: they are installed wherever it is
_LICENSES = ("scipy", "numpy", "torch", "pandas", "matplotlib", "scikit-learn", "safetensors", "pyarrow")
_ROLE = re.compile(r":[\w:+.-]+:`~?([^`<]*)(?:<[^>]*>)?`")
_LINK = re.compile(r"`([^`<]*?)\s*<[^>]*>`_{1,2}|https?://\S+|\[\d+\]_?")
_UNDERLINED = re.compile(r"^.*\n([-=*~^])\1{2,}[ ]*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[a-z)][.])\s+(?=[A-Z])")
_PLAIN = re.compile(r"[A-Z][A-Za-z0-9 ,;:'()%-]*[.]")
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_LENGTH = (8, 30)


@cache
def corpus() -> dict[str, tuple[str, ...]]:
    """Return clean sentences by source, each once, in a fixed order; read once a process.

    ``python``: the language reference in `pydoc_data`; ``datasets``: scikit-learn's descriptions of data
    sets; ``brain``: nilearn's of atlases and experiments; ``licenses``: licenses of installed packages.
    """
    seen: set[str] = set()
    out: dict[str, tuple[str, ...]] = {}
    for source, texts in (
        ("python", _python_topics()),
        ("datasets", _package_texts("sklearn", "datasets/descr/*.rst")),
        ("brain", _package_texts("nilearn", "datasets/description/*.rst")),
        ("licenses", _licenses()),
    ):
        found = []
        for text in texts:
            for sentence in sentences(text):
                if sentence.lower() not in seen:
                    seen.add(sentence.lower())
                    found.append(sentence)
        if found:
            out[source] = tuple(found)
    return out


def sentences(text: str) -> list[str]:
    r"""Return the plain English sentences of 8 to 30 words in a marked-up text.

    Indented blocks, lists, tables and headings are left out with their code.

    Example:
        >>> sentences("Title\n=====\n\nThis is *one* sentence about a cat, a dog and a bird.\n\n    x = 1")
        ['This is one sentence about a cat, a dog and a bird.']
    """
    out = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = _UNDERLINED.sub("", paragraph.strip("\n")).strip("\n").split("\n")
        indented = lines[0][:1].isspace()
        if indented or lines[0][:1] in ("*", "-", ".", ":", "=", "#", "+", "|") or "::=" in paragraph:
            continue
        flat = _ROLE.sub(r"\1", " ".join(line.strip() for line in lines))
        flat = _LINK.sub(lambda match: match.group(1) or "", flat)
        flat = flat.replace("’", "'").replace("‘", "'")
        flat = re.sub(r"[*`\"“”]+", "", flat)
        for sentence in _SENTENCE_END.split(re.sub(r"\s+", " ", flat).strip()):
            words = sentence.split(" ")
            letters = sum(bool(_WORD.fullmatch(word.strip(",;:.()'%"))) for word in words)
            if (
                _LENGTH[0] <= len(words) <= _LENGTH[1]
                and letters >= 0.9 * len(words)
                and _PLAIN.fullmatch(sentence)
                and sum(word.isupper() for word in words) <= 3
                and sentence.count("(") == sentence.count(")")
            ):
                out.append(sentence)
    return out


def sample_sentences(
    n_stimuli: int, *, seed: int = 0
) -> tuple[list[str], list[str], dict[str, tuple[str, ...]]]:
    """Draw sentences from every source in turn, without replacement.

    Returns:
        The sentences, unique names such as ``"brain_002"``, and the whole corpus they were drawn from.
    """
    rng = np.random.default_rng([seed, 3])
    texts = corpus()
    total = sum(len(found) for found in texts.values())
    if n_stimuli > total:
        raise InputError(f"n_stimuli must be at most the {total} sentences found, got {n_stimuli}.")
    queues = {source: list(rng.permutation(found)) for source, found in texts.items()}
    chosen: list[str] = []
    names: list[str] = []
    while len(chosen) < n_stimuli:
        for source, queue in queues.items():
            if queue and len(chosen) < n_stimuli:
                names.append(f"{source}_{len(chosen):03d}")
                chosen.append(str(queue.pop()))
    return chosen, names, texts


def _python_topics() -> Iterator[str]:
    # 450 kB of text, needed here alone
    from pydoc_data.topics import topics

    yield from (topics[name] for name in sorted(topics))


def _package_texts(package: str, pattern: str) -> Iterator[str]:
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for path in sorted(Path(folder).glob(pattern)):
            yield path.read_text(encoding="utf-8")


def _licenses() -> Iterator[str]:
    for package in _LICENSES:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        # chosen before they are looked up: torch has thirty thousand files, and this takes seconds
        named = [file for file in files if re.search(r"licen[cs]e", file.name, re.IGNORECASE)]
        for file in sorted(named, key=str):
            path = Path(str(file.locate()))
            if path.suffix != ".py" and path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation and numbers."""
    return [word.lower() for word in _WORD.findall(text)]
