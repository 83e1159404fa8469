import resource
import signal

import pytest

from gshn.errors import GSHNError
from gshn.files import write_atomically


def test_a_full_disk_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(GSHNError, match=r"file cannot be written \(File too large\); make room"):
            write_atomically(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
