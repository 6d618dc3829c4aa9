"""When each story of Narratives was played: volumes, seconds and sound files, as the data set states them.

Sources, all of OpenNeuro ds002345 v1.1.4: volumes from code/event_meta.json, seconds to the sound file from
the first event in each task's events.tsv, words counted in the released align.csv. Where these
conflict or leave something open, `Clock.note` says so and reading warns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Where a story lies in its scan.

    Attributes:
        task: the scans' task entity.
        audio: the sound file's name, ``stimuli/<audio>_audio.wav``.
        onset: volume with which the story begins.
        duration: volumes that it lasts.
        wav_offset: seconds from the scan's start to the sound file's, which may begin with music.
        tale: stories with one tale share most of their text.
        part: its name in event_meta.json, where a scan holds several; None: the task's.
        condition: who heard this sound, by the column of participants.tsv; None: everybody.
        note: why the clock is uncertain, empty where it is not.
    """

    task: str
    audio: str
    onset: int
    duration: int
    wav_offset: float
    tale: str
    part: str | None = None
    condition: str | None = None
    note: str = ""


def _clock(name: str, onset: int, duration: int, wav_offset: float, **own: str) -> tuple[str, Clock]:
    """Make a clock; task, sound file and tale have the story's name unless they are given."""
    names = {"task": name, "audio": name, "tale": name, **own}
    return name, Clock(onset=onset, duration=duration, wav_offset=wav_offset, **names)


def _pni(first: str, last: str, seconds: int) -> str:
    return (
        f"no offset of the sound file is stated; 12 s is when the story begins, but the words lie at {first} "
        f"to {last} s of the file although the story lasts {seconds} s, so that the file may have an intro"
    )


_MILKYWAY = {"task": "milkyway", "tale": "milkyway"}
_SLUMLORDREACH = {"task": "slumlordreach", "audio": "slumlordreach"}
_LUCY = "the data set's sources conflict: volume 1 (1.5 s) in event_meta.json, 2 or 3 s elsewhere"
CLOCKS = dict(
    (
        _clock("pieman", 10, 281, 0.0),
        _clock("tunnel", 2, 1023, 3.0),
        _clock("lucy", 1, 361, 3.0, note=_LUCY),
        _clock("prettymouth", 14, 451, 0.0),
        _clock("milkywayoriginal", 14, 269, 0.0, condition="original", **_MILKYWAY),
        _clock("milkywayvodka", 14, 269, 0.0, condition="vodka", **_MILKYWAY),
        _clock("milkywaysynonyms", 14, 269, 0.0, condition="synonyms", **_MILKYWAY),
        _clock("slumlord", 20, 602, 4.5, part="slumlord", **_SLUMLORDREACH),
        _clock("reach", 646, 550, 4.5, part="reach", **_SLUMLORDREACH),
        _clock("notthefallintact", 20, 365, 4.5, tale="notthefall"),
        _clock("notthefalllongscram", 20, 365, 4.5, tale="notthefall"),
        _clock("notthefallshortscram", 20, 365, 4.5, tale="notthefall"),
        _clock("merlin", 22, 591, 4.5),
        _clock("sherlock", 22, 701, 4.5),
        _clock("shapesphysical", 33, 270, 4.5),
        _clock("shapessocial", 33, 272, 4.5),
        _clock("21styear", 14, 2225, 0.0),
        _clock("bronx", 8, 357, 12.0, note=_pni("15.2", "550.5", 536)),
        _clock("piemanpni", 8, 267, 12.0, tale="pieman", note=_pni("8.7", "408.4", 400)),
        _clock("black", 8, 533, 12.0),
        _clock("forgot", 8, 558, 12.0),
    )
)
ALIASES = {"slumlordreach": ("slumlord", "reach")}
# told in scrambled order: read when they are named
SKIPPED = ("notthefalllongscram", "notthefallshortscram")
# rows of align.csv by sound file
WORDS = {
    "pieman": 957,
    "lucy": 1607,
    "prettymouth": 1970,
    "milkywayoriginal": 1059,
    "milkywayvodka": 1058,
    "milkywaysynonyms": 1066,
    "slumlordreach": 5344,
    "notthefallintact": 1601,
    "merlin": 2245,
    "sherlock": 2681,
    "shapesphysical": 951,
    "shapessocial": 910,
    "bronx": 1379,
    "piemanpni": 992,
    "black": 1544,
    "forgot": 2135,
}
