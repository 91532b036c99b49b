"""Downloads: resumed, verified, taken from the next mirror; archives give up the named files and nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import re
import resource
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlflow_pt_eval.downloads import TRIES_PER_MIRROR, Download, extract, fetch
from mlflow_pt_eval.errors import BadInput, NotFound, StorageFailed

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Mirror(ThreadingHTTPServer):
    """A file server on loopback that knows Range and can be told to misbehave."""

    content: bytes = CONTENT
    ranges: bool = True
    breaks_off_after: list[int] = field(default_factory=list)
    """Bytes that the next answers give before the connection is cut, one entry for each answer."""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of each request."""

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_port}/some/folder/file.bin"

    def __hash__(self) -> int:
        return id(self)


class Handler(BaseHTTPRequestHandler):
    """Answer with the mirror's content, the range that was asked for, or the beginning of it."""

    server: Mirror

    def do_GET(self) -> None:
        """Send what the mirror is told to send."""
        mirror, asked = self.server, self.headers.get("Range")
        mirror.asked.append(asked)
        if self.path != "/some/folder/file.bin":
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and mirror.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(mirror.content) - 1}/{len(mirror.content)}")
        body = mirror.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: mirror.breaks_off_after.pop(0)] if mirror.breaks_off_after else body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[Mirror]:
    """Run a mirror on a port of its own."""
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A mirror that serves until the test is over."""
    with serving() as server:
        yield server


@pytest.fixture
def other_mirror() -> Iterator[Mirror]:
    """A second one."""
    with serving() as server:
        yield server


def wanted(*urls: str, name: str = "file.bin") -> Download:
    """The file, to be had from *urls*."""
    return Download(name=name, urls=urls, sha256=SHA256, size=len(CONTENT))


def nowhere() -> str:
    """Return the address of a server that is not there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        return f"http://127.0.0.1:{server.server_port}/some/folder/file.bin"


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(mirror: Mirror, tmp_path: Path) -> None:
    """The folder is made, and holds the file under its name and no part of it."""
    (path,) = fetch([wanted(mirror.url)], tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_file_that_is_there_is_taken_as_it_is(mirror: Mirror, tmp_path: Path) -> None:
    """Nobody is asked for a file that someone has put there."""
    (tmp_path / "file.bin").write_bytes(b"mine")
    (path,) = fetch([wanted(mirror.url)], tmp_path)
    assert path.read_bytes() == b"mine"
    assert mirror.asked == []


def test_a_broken_connection_is_gone_on_with_where_it_broke(mirror: Mirror, tmp_path: Path) -> None:
    """Each further request asks for the rest only."""
    mirror.breaks_off_after = [1_000_000, 500_000]
    (path,) = fetch([wanted(mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert mirror.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on_with_what_an_earlier_one_got(mirror: Mirror, tmp_path: Path) -> None:
    """A part that is left from before is not downloaded again."""
    mirror.breaks_off_after = [400_000] * TRIES_PER_MIRROR
    with pytest.raises(NotFound, match="broke off after 2.0 MB of 3.0 MB"):
        fetch([wanted(mirror.url)], tmp_path)
    (path,) = fetch([wanted(mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert mirror.asked[-1] == "bytes=2000000-"


def test_a_mirror_without_ranges_is_read_from_the_beginning(mirror: Mirror, tmp_path: Path) -> None:
    """An answer that is the whole file replaces the part instead of being appended to it."""
    mirror.ranges = False
    mirror.breaks_off_after = [1_000_000]
    (path,) = fetch([wanted(mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), b"more" + CONTENT, b"<html>Please log in</html>"],
    ids=["a flipped bit", "more bytes", "a page"],
)
def test_another_file_is_never_taken(mirror: Mirror, other_mirror: Mirror, tmp_path: Path, content: bytes) -> None:
    """What has the wrong checksum is thrown away, and the next mirror asked for the whole."""
    mirror.content = content
    (path,) = fetch([wanted(mirror.url, other_mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_wrong_file_everywhere_is_an_error_and_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    """The message tells the checksum that was found; no file of that content stays."""
    mirror.content = CONTENT[::-1]
    with pytest.raises(NotFound, match=hashlib.sha256(CONTENT[::-1]).hexdigest()[:12]):
        fetch([wanted(mirror.url)], tmp_path)
    assert list(tmp_path.glob("file*")) == []


def test_a_part_of_another_file_does_not_discredit_a_mirror(mirror: Mirror, tmp_path: Path) -> None:
    """The same mirror is asked again, for the whole."""
    (tmp_path / "file.bin.part").write_bytes(b"0" * 1000)
    (path,) = fetch([wanted(mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert mirror.asked == ["bytes=1000-", None]


def test_without_a_connection_the_message_names_every_file_and_its_place(tmp_path: Path) -> None:
    """One line: what each mirror did, all files that are missing, the folder, and what else can be done."""
    with pytest.raises(NotFound) as caught:
        fetch([wanted(nowhere()), wanted(nowhere(), name="second.bin")], tmp_path / "files", instead="Or do without.")
    message = str(caught.value)
    assert "Connection refused" in message
    assert f"{tmp_path / 'files'}: file.bin, second.bin" in message
    assert message.endswith("Or do without.")
    assert "\n" not in message


def test_a_mirror_that_lacks_the_file_is_passed_over(mirror: Mirror, other_mirror: Mirror, tmp_path: Path) -> None:
    """A 404 and a dead server cost nothing but a line if a third mirror has it."""
    lacking = mirror.url.replace("file.bin", "nothing.bin")
    (path,) = fetch([wanted(nowhere(), lacking, other_mirror.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    with pytest.raises(NotFound, match="HTTP 404"):
        fetch([wanted(lacking, name="second.bin")], tmp_path)


def test_two_at_once_download_once(mirror: Mirror, tmp_path: Path) -> None:
    """The second waits for the first and finds the file there."""
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch([wanted(mirror.url)], tmp_path)[0], range(2)))
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert mirror.asked == [None]
    assert list(tmp_path.glob("*.part")) == []


def test_a_log_file_gets_one_line(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal there is no bar."""
    fetch([wanted(mirror.url)], tmp_path)
    assert capsys.readouterr().err == f"downloading file.bin (3.0 MB) from 127.0.0.1:{mirror.server_port}\n"


def test_a_terminal_gets_a_bar(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is drawn over itself up to 100 %, and ended; also when the connection broke in between."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    mirror.breaks_off_after = [1_500_000]
    fetch([wanted(mirror.url)], tmp_path)
    broken, whole, rest = sys.stderr.getvalue().split("\n")
    assert broken.endswith(f"|{'█' * 10:<20}| 50 %")
    assert whole.endswith(f"|{'█' * 20}| 100 %")
    assert rest == ""


def test_a_disk_that_refuses_is_said(mirror: Mirror, tmp_path: Path) -> None:
    """A refusal of the file system is an error of ours, not a mirror's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StorageFailed, match=f"{tmp_path}.*3.0 MB were needed"):
            fetch([wanted(mirror.url)], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def archive_of(path: Path, **members: bytes | tarfile.TarInfo) -> Path:
    """Write a gzipped tar; a value is a file's content or a ready-made entry."""
    with tarfile.open(path, "w:gz") as tar:
        for name, value in members.items():
            info = value if isinstance(value, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(value, tarfile.TarInfo) else value
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Return an entry that points elsewhere."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_only_the_named_members_come_out(tmp_path: Path) -> None:
    """Each lands in the folder under its last part; the rest of the archive, and where it wants to go, is ignored."""
    members = {"top/a.bin": b"A", "top/b.bin": b"B", "../../escaped": b"!", "/tmp/absolute": b"!", "top/other": b"!"}
    archive = archive_of(tmp_path / "x.tar.gz", **members)
    paths = extract(archive, ["top/b.bin", "top/a.bin"], tmp_path / "out")
    assert [(p.name, p.read_bytes()) for p in paths] == [("b.bin", b"B"), ("a.bin", b"A")]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.bin", "b.bin", "mlflow.db", "out", "x.tar.gz"]


def test_even_a_named_member_cannot_leave_the_folder(tmp_path: Path) -> None:
    """The archive's names never become paths."""
    archive = archive_of(tmp_path / "x.tar.gz", **{"../../evil": b"!"})
    assert extract(archive, ["../../evil"], tmp_path / "out") == [tmp_path / "out" / "evil"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    """A link named like the file is not followed."""
    archive = archive_of(tmp_path / "x.tar.gz", **{"top/a.bin": link("top/a.bin", "/etc/hostname", kind)})
    with pytest.raises(BadInput, match=r"holds no file 'top/a.bin'"):
        extract(archive, ["top/a.bin"], tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_a_damaged_archive_is_said(tmp_path: Path, keep: int) -> None:
    """Cut short or not an archive at all: one clear line with what to do."""
    archive = archive_of(tmp_path / "x.tar.gz", **{"top/a.bin": CONTENT[:20_000]})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(BadInput, match="delete it"):
        extract(archive, ["top/a.bin"], tmp_path / "out")
    assert not (tmp_path / "out" / "a.bin").exists()
