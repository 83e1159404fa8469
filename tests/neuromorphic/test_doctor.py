"""``neuromorphic.doctor``: it says what is missing, and does not say so of what is there."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from gshn import deployment
from neuromorphic import doctor, requirements
from neuromorphic.errors import LavaMissingError
from neuromorphic.lava import target
from neuromorphic.lava.target import choose_target, missing_for_loihi2


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["doctor", *map(str, arguments)])
    doctor.main()


@pytest.mark.lava
def test_what_make_setup_installs_is_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "--probe", "--json", tmp_path / "doctor.json")
    findings = json.loads((tmp_path / "doctor.json").read_text())
    assert all(finding["ok"] or finding["optional"] for own in findings.values() for finding in own)
    assert any("three neurons" in finding["what"] for own in findings.values() for finding in own)
    assert "lava-nc" in capsys.readouterr().out


def test_a_missing_package_and_a_wrong_version_are_named_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "lava-nc":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.25.0" if name == "numpy" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, "--json", tmp_path / "doctor.json")
    assert exit_.value.code == 1
    findings = [f for own in json.loads((tmp_path / "doctor.json").read_text()).values() for f in own]
    bad = {finding["what"].split()[0]: finding for finding in findings if not finding["ok"] and finding["found"]}
    assert set(bad) == {"numpy"} and not bad["numpy"]["optional"]
    assert bad["numpy"]["found"] == "1.25.0" and bad["numpy"]["mend"] == "pip install gshn"
    (lava,) = (finding for finding in findings if finding["what"].startswith("lava-nc"))
    assert lava["found"] == "" and lava["optional"] and lava["mend"] == "python -m neuromorphic.doctor --install lava"


def test_an_extra_that_was_left_out_is_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if requirements.declared()[name][1]:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    call(monkeypatch)


def test_ranges_are_those_that_the_project_declares() -> None:
    declared = requirements.declared()
    assert declared["lava-nc"][1] == "lava" and declared["numpy"][1] == ""
    assert "2.0" in declared["numpy"][0].specifier and "1.25" not in declared["numpy"][0].specifier
    for extra, *names in (*doctor.NEEDS.values(), *deployment.NEEDS.values()):
        for name in names:
            assert name in declared and declared[name][1] == extra, name


def test_loihi2_is_chosen_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_target("simulator") == choose_target("auto") == "simulator"
    with pytest.raises(LavaMissingError, match=r"Loihi 2 cannot be used here: .*not installed"):
        choose_target("loihi2")
    monkeypatch.setattr(target, "find_spec", lambda name: object())
    monkeypatch.delenv("NXSDKHOST", raising=False)
    assert "no board is named" in (missing_for_loihi2() or "")
    monkeypatch.setenv("NXSDKHOST", "board")
    assert choose_target("auto") == choose_target("loihi2") == "loihi2"
