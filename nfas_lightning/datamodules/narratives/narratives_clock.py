"""When each story of Narratives was played: volumes, seconds and sound files, as the data set states them.

Sources, all of OpenNeuro ds002345 v1.1.4: volumes from code/event_meta.json, seconds to the sound file from
the first event in each task's events.tsv, words counted in the released align.csv. Where these
conflict or leave something open, `Clock.note` says so and reading warns.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALIASES", "CLOCKS", "SKIPPED", "WORDS", "Clock"]


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


def _clock(
    name: str,
    onset: int,
    duration: int,
    wav_offset: float,
    *,
    task: str | None = None,
    audio: str | None = None,
    tale: str | None = None,
    part: str | None = None,
    condition: str | None = None,
    note: str = "",
) -> Clock:
    """Make a clock; task, sound file and tale have the story's name unless it is given."""
    return Clock(
        task=task or name,
        audio=audio or name,
        onset=onset,
        duration=duration,
        wav_offset=wav_offset,
        tale=tale or name,
        part=part,
        condition=condition,
        note=note,
    )


def _pni(first: str, last: str, seconds: int) -> str:
    return (
        f"no offset of the sound file is stated; 12 s is when the story begins, but the words lie at {first} "
        f"to {last} s of the file although the story lasts {seconds} s, so that the file may have an intro"
    )


CLOCKS = {
    "pieman": _clock("pieman", 10, 281, 0.0),
    "tunnel": _clock("tunnel", 2, 1023, 3.0),
    "lucy": _clock(
        "lucy",
        1,
        361,
        3.0,
        note="the data set's sources conflict: volume 1 (1.5 s) in event_meta.json, 2 or 3 s elsewhere",
    ),
    "prettymouth": _clock("prettymouth", 14, 451, 0.0),
    "milkywayoriginal": _clock(
        "milkywayoriginal", 14, 269, 0.0, task="milkyway", tale="milkyway", condition="original"
    ),
    "milkywayvodka": _clock(
        "milkywayvodka", 14, 269, 0.0, task="milkyway", tale="milkyway", condition="vodka"
    ),
    "milkywaysynonyms": _clock(
        "milkywaysynonyms", 14, 269, 0.0, task="milkyway", tale="milkyway", condition="synonyms"
    ),
    "slumlord": _clock(
        "slumlord", 20, 602, 4.5, task="slumlordreach", audio="slumlordreach", part="slumlord"
    ),
    "reach": _clock("reach", 646, 550, 4.5, task="slumlordreach", audio="slumlordreach", part="reach"),
    "notthefallintact": _clock("notthefallintact", 20, 365, 4.5, tale="notthefall"),
    "notthefalllongscram": _clock("notthefalllongscram", 20, 365, 4.5, tale="notthefall"),
    "notthefallshortscram": _clock("notthefallshortscram", 20, 365, 4.5, tale="notthefall"),
    "merlin": _clock("merlin", 22, 591, 4.5),
    "sherlock": _clock("sherlock", 22, 701, 4.5),
    "shapesphysical": _clock("shapesphysical", 33, 270, 4.5),
    "shapessocial": _clock("shapessocial", 33, 272, 4.5),
    "21styear": _clock("21styear", 14, 2225, 0.0),
    "bronx": _clock("bronx", 8, 357, 12.0, note=_pni("15.2", "550.5", 536)),
    "piemanpni": _clock("piemanpni", 8, 267, 12.0, tale="pieman", note=_pni("8.7", "408.4", 400)),
    "black": _clock("black", 8, 533, 12.0),
    "forgot": _clock("forgot", 8, 558, 12.0),
}
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
