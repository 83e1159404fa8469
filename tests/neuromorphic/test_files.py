import errno
import os
import subprocess
import sys
import threading

import pytest
from disk import full_disk

from neuromorphic import files
from neuromorphic.cli import run_command
from neuromorphic.errors import UserError, UserNotice
from neuromorphic.files import Lock, write_atomically


def test_a_full_disk_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "before")
    with full_disk(1000), pytest.raises(UserError, match=r"file cannot be written \(File too large\); make room"):
        write_atomically(path, b"x" * 2000)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_that_nobody_expected_is_one_line(capsys):
    def main():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SystemExit, match="2"):
        run_command(main)
    expected = "error: the system: No space left on device; make room, or let TMPDIR name another place"
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_there_can_be_kept(tmp_path, monkeypatch, links):
    if not links:  # as on some memory cards
        monkeypatch.setattr(files.Path, "hardlink_to", lambda *_: files.Path("nowhere").stat())
    path = tmp_path / "file"
    write_atomically(path, "first", keep=True)
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
    if links:
        write_atomically(path, "second", keep=True)
        assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


class TestLock:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / ".lock"

    def test_one_process_at_a_time_which_is_named(self, path):
        with (
            Lock(path, "the run", "wait"),
            pytest.raises(UserError, match=rf"^the run is being written by process {os.getpid()} on .*; wait$"),
        ):
            Lock(path, "the run", "wait")
        assert not path.exists()
        Lock(path, "the run", "wait").release()

    def test_it_ends_with_the_process_that_holds_it(self, path):
        script = "import sys, time; from pathlib import Path; from neuromorphic.files import Lock\n"
        script += "held = Lock(Path(sys.argv[1]), 'it', 'wait'); print('held', flush=True); time.sleep(1000)"
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"by process {process.pid} on"):
            Lock(path, "it", "wait")
        process.kill()
        process.communicate()
        with Lock(path, "it", "wait"):
            assert path.read_text().startswith(f"process {os.getpid()} on")

    def test_waiting(self, path, monkeypatch):
        """Two wait for one: each gets it in turn, though the file of the one before is gone."""
        told, waiting, order = [], threading.Semaphore(0), []
        monkeypatch.setattr(files.warnings, "warn", lambda text, *_, **__: (told.append(text), waiting.release()))

        def wait(name):
            with Lock(path, "the cache"):
                with pytest.raises(UserError):
                    Lock(path, "the cache", "no")
                order.append(name)  # last: a thread's failure ends the thread alone

        threads = [threading.Thread(target=wait, args=(name,)) for name in "ab"]
        with Lock(path, "the cache"):
            for thread in threads:
                thread.start()
                waiting.acquire()
            assert order == []
        for thread in threads:
            thread.join()
        assert sorted(order) == ["a", "b"] and not path.exists()
        assert f"the cache is being written by process {os.getpid()} on" in told[0] and "waiting for it" in told[0]

    def test_a_file_that_goes_while_it_is_locked_is_made_anew(self, path, monkeypatch):
        """Who held it before removes it at any moment: also between a look at whether it is there and the next."""
        lock, attempts = Lock._flock, []

        def gone(descriptor, what, mend):
            lock(descriptor, what, mend)
            attempts.append(descriptor)
            if len(attempts) < 3:
                path.unlink()

        monkeypatch.setattr(Lock, "_flock", staticmethod(gone))
        monkeypatch.setattr(files.Path, "exists", lambda _: True)
        with Lock(path, "the run", "wait"):
            assert path.is_file() and len(attempts) == 3

    def test_a_forked_process_does_not_let_go_of_it(self, path, monkeypatch):
        lock = Lock(path, "the run", "wait")
        with monkeypatch.context() as child:
            child.setattr(files.os, "getpid", lambda: -1)
            lock.release()
        with pytest.raises(UserError, match="the run is being written by"):
            Lock(path, "the run", "wait")
        lock.release()
        assert not path.exists()

    def test_a_file_system_without_locks(self, path, monkeypatch):
        def refuse(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(files.fcntl, "flock", refuse)
        with pytest.warns(UserNotice, match=r"the run cannot be locked \(Operation not supported\)"):
            Lock(path, "the run", "wait").release()
