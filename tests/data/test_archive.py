"""An archive is read in memory: hostile, damaged and oversized ones are refused."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from laptime.data import archive as archive_module
from laptime.data.archive import MAX_ARCHIVE_BYTES, MAX_FILE_BYTES, read_members
from laptime.errors import DataError, LaptimeError

FOLDERS = {"top": ("a.bin", "b.bin"), "other": ("c.bin",)}


def member(name: str, content: bytes = b"12345", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.tar.gz"


def test_members_come_by_name_and_others_in_the_folder_are_passed_over(path: Path) -> None:
    folder = member("top", b"", type=tarfile.DIRTYPE)
    write(path, folder, member("top/b.bin"), member("top/readme.html"), member("top/sub/a.bin"))
    assert read_members(path, FOLDERS) == ("top", {"b.bin": b"12345"})


def test_names_may_start_with_a_dot_and_slash(path: Path) -> None:
    write(path, member("./top/a.bin"), member("./top/b.bin", b"6"))
    assert read_members(path, FOLDERS)[1] == {"a.bin": b"12345", "b.bin": b"6"}


def test_the_folder_tells_what_is_inside(path: Path) -> None:
    write(path, member("other/c.bin"))
    assert read_members(path, FOLDERS) == ("other", {"c.bin": b"12345"})


HOSTILE = {
    "parent": member("top/../../a.bin"),
    "parent first": member("../top/a.bin"),
    "parent last": member("top/.."),
    "absolute": member("/etc/passwd"),
    "absolute wanted": member("/top/a.bin"),
    "symbolic link": member("top/a.bin", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "symbolic link inside": member("top/x", b"", type=tarfile.SYMTYPE, linkname="b.bin"),
    "hard link": member("top/a.bin", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "hard link inside": member("top/a.bin", b"", type=tarfile.LNKTYPE, linkname="top/b.bin"),
    "character device": member("top/a.bin", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block device": member("top/a.bin", b"", type=tarfile.BLKTYPE, devmajor=8),
    "pipe": member("top/a.bin", b"", type=tarfile.FIFOTYPE),
    "contiguous": member("top/a.bin", type=tarfile.CONTTYPE),
    "sparse": member("top/a.bin", type=tarfile.GNUTYPE_SPARSE),
    "duplicate": member("top/b.bin", b"other"),
    "duplicate by another spelling": member("./top/b.bin", b"other"),
    "second folder": member("other/c.bin"),
    "unknown folder": member("elsewhere/a.bin"),
    "no folder": member("a.bin"),
    "empty name": member(""),
    "dot": member("."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_wherever_it_stands(path: Path, name: str) -> None:
    good = member("top/b.bin")
    for members in ((good, HOSTILE[name]), (HOSTILE[name], good)):
        write(path, *members)
        with pytest.raises(DataError) as refused:
            read_members(path, FOLDERS)
        assert "\n" not in str(refused.value)


def test_nothing_is_written_beside_the_archive(path: Path) -> None:
    write(path, member("top/a.bin"), member("../escaped"))
    with pytest.raises(DataError, match="points outside"):
        read_members(path, FOLDERS)
    assert list(path.parent.iterdir()) == [path]


def test_control_characters_in_a_name_do_not_reach_the_terminal(path: Path) -> None:
    write(path, member("top/../\x1b[31mred\nline"))
    with pytest.raises(DataError) as refused:
        read_members(path, FOLDERS)
    assert str(refused.value).isprintable()


def test_too_many_members_are_refused(path: Path) -> None:
    write(path, *(member(f"top/{i}", b"") for i in range(200)))
    with pytest.raises(DataError, match="comes after 100 others"):
        read_members(path, FOLDERS)


class Zeros(io.RawIOBase):
    """As many zeros as asked for, without holding them."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def bomb(path: Path, info: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.addfile(info, Zeros())
    return path


@pytest.mark.parametrize("name", ["top/a.bin", "top/unasked", "top"])
def test_a_member_too_large_is_refused_before_it_is_unpacked(path: Path, name: str) -> None:
    info, _ = member(name, type=tarfile.DIRTYPE if name == "top" else tarfile.REGTYPE)
    info.size = MAX_FILE_BYTES + 1
    bomb(path, info)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"67,108,865 bytes"):
            read_members(path, FOLDERS)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fill", [b"\0", b"x"])
def test_an_archive_that_unpacks_without_end_is_left_at_the_cap(
    path: Path, monkeypatch: pytest.MonkeyPatch, fill: bytes
) -> None:
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", 4 << 20)
    write(path, member("top/a.bin"))
    with gzip.open(path, "ab", compresslevel=1) as tail:
        for _ in range(64):
            tail.write(fill * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="unpacks to more than 4 MiB"):
            read_members(path, FOLDERS)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_enormous_length_ends_at_the_cap(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", 4 << 20)
    info, _ = member("top/a.bin", type=kind)
    info.size = 64 << 20
    with pytest.raises(DataError):
        read_members(bomb(path, info), FOLDERS)


def test_the_cap_leaves_room_for_the_official_archives() -> None:
    official_bytes = 6 * 10_000 * 3073 + 10 * 10_240
    assert official_bytes < MAX_ARCHIVE_BYTES < 2 * official_bytes


def test_an_archive_cut_anywhere_is_refused(path: Path) -> None:
    write(path, member("top/a.bin", bytes(range(256)) * 20), member("top/b.bin", b"x" * 5000))
    content = path.read_bytes()
    for length in [*range(0, len(content) - 1, 7), len(content) - 1, len(content) - 5]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"some\.tar\.gz"):
            read_members(path, FOLDERS)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x1f\x8b", gzip.compress(b""), gzip.compress(b"x" * 5000)],
    ids=["empty", "garbage", "magic", "nothing", "no tar"],
)
def test_what_is_no_archive_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"some\.tar\.gz"):
        read_members(path, FOLDERS)


def test_an_archive_without_the_folder_says_so(path: Path) -> None:
    write(path)
    with pytest.raises(DataError, match="holds no top and no other"):
        read_members(path, FOLDERS)


def test_an_archive_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_members(path, FOLDERS)


def test_a_chain_of_headers_without_end_is_refused(path: Path) -> None:
    info, _ = member("name", type=tarfile.XHDTYPE)
    info.size = 0
    header = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(gzip.compress(header * 5000, compresslevel=1))
    with pytest.raises(DataError):
        read_members(path, FOLDERS)


def test_a_damaged_archive_is_read_or_refused_and_nothing_else(path: Path) -> None:
    write(path, member("top/a.bin", b"y" * 2000), member("top/b.bin", b"x" * 700))
    packed = path.read_bytes()
    plain = gzip.decompress(packed)
    choice = random.Random(7)
    refused = 0
    for round_ in range(400):
        inside = round_ % 2 == 0  # damage the headers of the tar as well as the compressed bytes
        changed = bytearray(plain if inside else packed)
        for _ in range(choice.randint(1, 5)):
            start = choice.choice([0, 2560]) if inside else 0
            at = min(start + choice.randrange(512), len(changed) - 1)
            changed[at] = choice.randrange(256)
        path.write_bytes(gzip.compress(changed, compresslevel=1) if inside else changed)
        try:
            read_members(path, FOLDERS)
        except LaptimeError:
            refused += 1
    assert refused > 100
