"""Alice's two archives on Google Drive, where the authors' page links to, and what of them is unpacked."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from nfas_lightning.datamodules.alice.alice_release import convert_alice
from nfas_lightning.datamodules.catalogue.bucket import RemoteFile
from nfas_lightning.datamodules.catalogue.download_plan import Job, Plan, state_of
from nfas_lightning.datamodules.catalogue.transfer import Client, TransferError

__all__ = ["ARCHIVES", "GOOGLE_DRIVE", "alice_plan", "convert_archives"]

GOOGLE_DRIVE = "https://drive.usercontent.google.com/download"
"""Address that sends a public file of Google Drive without a page in between."""

ARCHIVES = {
    "alice_data_shared.zip": "0By_8Ci8eoDI4Q3NwUEFPRExIeG8",
    "alice_stim_shared.zip": "0By_8Ci8eoDI4d2I4bEF1VEZKZjA",
}
"""Google Drive's id of each archive, by the name that it gets here."""

# The text files that are read come to a few MB; an archive that claims more than this is another one.
_MOST_BYTES = 2**28
_READ = (".txt", ".TextGrid")


def alice_plan(folder: Path, client: Client, *, drive: str | None = None) -> Plan:
    """Ask how large the archives are.

    Args:
        folder: of the benchmark; the archives go into ``release`` below it.
        client: how to talk.
        drive: address that takes ``?id=``; None: `GOOGLE_DRIVE`.

    Raises:
        TransferError: there is a page instead of an archive: Google asks for something, or the file is gone.
        UnreachableError: no answer.
    """
    jobs = []
    for name, identity in ARCHIVES.items():
        query = urlencode({"id": identity, "export": "download", "confirm": "t"})
        url = f"{drive or GOOGLE_DRIVE}?{query}"
        size = client.again(url, partial(_size, client, url, name))
        target = folder / "release" / name
        kind = "series" if "data" in name else "stimuli"
        jobs.append(Job(RemoteFile(name, size, ""), url, target, kind, state_of(target, size)))
    return Plan(folder / "release", tuple(jobs))


def convert_archives(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Unpack text files and TextGrid out of the archives in ``release`` and convert them.

    Args:
        folder: of the benchmark; written to. The archives stay, what was unpacked does not.

    Returns:
        Listeners and remarks, as `convert_alice` gives them.

    Raises:
        ValueError: an archive is no zip, is damaged, or holds far more than the release.
        FileNotFoundError: an archive is missing, or what it must hold.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as place:
        for name in ARCHIVES:
            _unpack(folder / "release" / name, Path(place) / Path(name).stem)
        return convert_alice(Path(place), folder)


def _unpack(archive: Path, place: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if member.filename.endswith(_READ)]
            if (n_bytes := sum(member.file_size for member in members)) > _MOST_BYTES:
                raise ValueError(
                    f"{archive} must hold a few MB of text, got {n_bytes:,} bytes: it is another archive."
                )
            # extract() keeps members below `place`, and compares the CRC of each
            for member in members:
                opened.extract(member, place)
    # zipfile raises RuntimeError where an archive has a password or an odd compression
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise ValueError(
            f"{archive} must be a whole zip archive without a password ({error}): delete it and run again, "
            "or unpack what the authors' page gives and name the folder with --source."
        ) from error


def _size(client: Client, url: str, name: str) -> int:
    """Return the bytes that an answer announces; its body is left unread."""
    with client.get(url) as response:
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            page = next(response.iter_content(2**16), b"").decode(errors="replace")
            title = re.search(r"<title>\s*(.*?)\s*</title>", page, re.DOTALL | re.IGNORECASE)
            raise TransferError(
                f"{name} must come as an archive, Google Drive sends a page"
                + (f" ({title.group(1)})" if title else "")
                + "."
            )
        told = response.headers.get("Content-Length", "")
        if not told.isdigit():
            raise TransferError(f"{name}: the server does not say how large it is.")
        return int(told)
