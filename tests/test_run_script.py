"""run.py: what it installs when, which Pythons it takes, what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import run
from tools import venvs

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("shown", "older"),
    [
        ("pip 23.2.1 from /somewhere/pip (python 3.11)", True),
        ("pip 25.0.1 from /somewhere/pip (python 3.13)", True),
        ("pip 25.1 from /somewhere/pip (python 3.13)", False),
        ("pip 26.3 from /somewhere/pip (python 3.13)", False),
        ("pip 9.10 from /somewhere/pip (python 3.13)", True),
        ("", True),
        (None, True),
    ],
)
def test_a_pip_without_groups_is_known_by_its_version(shown: str | None, older: bool) -> None:
    assert venvs.pip_is_older_than((25, 1), shown) is older


def test_the_stamp_changes_with_the_declarations_and_with_the_folder() -> None:
    stamp = venvs.stamp_of(Path("/a"), b"[project]")
    assert stamp == venvs.stamp_of(Path("/a"), b"[project]")
    assert stamp != venvs.stamp_of(Path("/b"), b"[project]")
    assert stamp != venvs.stamp_of(Path("/a"), b"[project] ")


class Machine:
    """Stands in for the commands that `prepare` runs: what exists, what is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, *, version: str | None = None, pip: str = "pip 26.0") -> None:
        self.version = version
        self.pip = pip
        self.ran: list[str] = []
        monkeypatch.setattr(venvs, "ROOT", root)
        monkeypatch.setattr(venvs, "output_of", self.output_of)
        monkeypatch.setattr(venvs, "must", self.must)
        (root / "pyproject.toml").write_text("[project]\n")

    def output_of(self, argv: Sequence[str | Path]) -> str | None:
        if argv[1:] == ["-c", venvs.VERSION]:
            return self.version
        if argv[1:] == ["-m", "pip", "--version"]:
            return self.pip
        return ""

    def must(self, argv: Sequence[str | Path], what: str) -> None:
        self.ran.append(what)
        if "venv" in argv:
            self.version = "3.12"
            Path(argv[-1]).mkdir(exist_ok=True)
            (Path(argv[-1]) / "pyvenv.cfg").touch()
            (Path(argv[-1]) / venvs.STAMP).unlink(missing_ok=True)
        if "--upgrade" in argv:
            self.pip = "pip 26.0"


def test_everything_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(monkeypatch, tmp_path, pip="pip 23.2.1")
    _, version = venvs.prepare(tmp_path / ".venv", development=True)
    assert machine.ran == ["making the virtual environment", "upgrading pip", "installing"]
    assert version == "3.12"
    assert "done in" in capsys.readouterr().out

    venvs.prepare(tmp_path / ".venv", development=True)
    venvs.prepare(tmp_path / ".venv", development=False)
    assert len(machine.ran) == 3
    assert capsys.readouterr().out == ""


def test_what_was_installed_for_the_example_is_not_enough_for_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, tmp_path)
    venvs.prepare(tmp_path / ".venv", development=False)
    venvs.prepare(tmp_path / ".venv", development=True)
    assert machine.ran == ["making the virtual environment", "installing", "installing"]


def test_a_change_of_the_declarations_installs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, tmp_path)
    venvs.prepare(tmp_path / ".venv", development=True)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    venvs.prepare(tmp_path / ".venv", development=True)
    assert machine.ran == ["making the virtual environment", "installing", "installing"]


def test_a_copy_of_the_folder_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, tmp_path)
    venvs.prepare(tmp_path / ".venv", development=True)
    (tmp_path / "copy").mkdir()
    copy = Machine(monkeypatch, tmp_path / "copy", version=machine.version)
    (tmp_path / ".venv").rename(tmp_path / "copy" / ".venv")
    venvs.prepare(tmp_path / "copy" / ".venv", development=True)
    assert copy.ran == ["making the virtual environment", "installing"]


def test_a_failed_installation_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, tmp_path)
    venvs.prepare(tmp_path / ".venv", development=True)
    (tmp_path / "pyproject.toml").write_text("[broken]\n")

    def fail(argv: Sequence[str | Path], what: str) -> None:
        raise venvs.SetupError(f"{what} failed: {argv}")

    with monkeypatch.context() as patch:
        patch.setattr(venvs, "must", fail)
        with pytest.raises(venvs.SetupError):
            venvs.prepare(tmp_path / ".venv", development=True)
    (tmp_path / "pyproject.toml").write_text("[project]\n")  # as at first, but who knows what the failed one left behind
    venvs.prepare(tmp_path / ".venv", development=True)
    assert machine.ran == ["making the virtual environment", "installing", "installing"]


def test_a_folder_that_is_no_virtual_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "thesis.txt").write_text("ten years")
    with pytest.raises(venvs.SetupError, match="no virtual environment; move it away"):
        venvs.prepare(tmp_path / ".venv", development=True)
    assert (tmp_path / ".venv" / "thesis.txt").exists()


def test_a_virtual_environment_with_an_old_python_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, tmp_path, version="3.9")
    with pytest.raises(venvs.SetupError, match=r"has Python 3\.9, which is too old"):
        venvs.prepare(tmp_path / ".venv", development=True)
    assert machine.ran == []


@pytest.mark.parametrize(
    ("ensurepip", "pip", "ran"),
    [("", None, "ensurepip --default-pip"), (None, "pip 23.0", "pip --python"), (None, "pip 22.0", None), (None, None, None)],
)
def test_pip_comes_with_python_or_from_the_system_or_one_line_says_what_is_missing(
    ensurepip: str | None, pip: str | None, ran: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran_commands: list[str] = []
    monkeypatch.setattr(venvs, "output_of", lambda argv: pip if argv[-1] == "--version" else ensurepip)
    monkeypatch.setattr(venvs, "must", lambda argv, _what: ran_commands.append(" ".join(map(str, argv))))
    if ran is None:
        with pytest.raises(venvs.SetupError, match="apt install python3-venv"):
            venvs.add_pip(Path("venv/bin/python"), "python3")
    else:
        venvs.add_pip(Path("venv/bin/python"), "python3")
        (command,) = ran_commands
        assert ran in command


def test_a_command_that_fails_shows_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(venvs.SetupError, match="installing failed"):
        venvs.must([sys.executable, "-c", "import sys; sys.exit('no such package')"], "installing")
    assert "no such package" in capsys.readouterr().out


def test_a_command_that_is_not_there_has_no_output() -> None:
    assert venvs.output_of(["/no/such/program"]) is None
    assert venvs.output_of([sys.executable, "-c", "import sys; sys.exit(1)"]) is None
    assert venvs.output_of([sys.executable, "-c", "print('yes')"]) == "yes"


@pytest.mark.skipif(sys.platform == "win32", reason="executable files of another kind")
def test_only_pythons_that_run_are_taken_and_a_shim_does_not_hide_one(tmp_path: Path) -> None:
    shims, system = tmp_path / "shims", tmp_path / "system"
    for folder, names in ((shims, ["python3.11", "python3.12", "python3.13"]), (system, ["python3.12"])):
        folder.mkdir()
        for name in names:
            (folder / name).touch(mode=0o755)

    def probe(argv: Sequence[str]) -> str | None:
        return f"3.12 {argv[0]}" if argv[0].startswith(str(system)) else None

    path = [str(shims), str(tmp_path / "nowhere"), str(system)]
    assert venvs.other_pythons("3.11", path=path, probe=probe) == {"3.12": str(system / "python3.12")}
    assert venvs.other_pythons("3.12", path=path, probe=probe) == {}


def test_a_python_that_says_another_version_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "python3.12").touch(mode=0o755)
    assert venvs.other_pythons("3.11", path=[str(tmp_path)], probe=lambda argv: f"3.9 {argv[0]}") == {}


def test_the_probe_answers_with_version_and_executable() -> None:
    answer = venvs.output_of([sys.executable, "-c", venvs.PROBE])
    assert answer == f"{sys.version_info.major}.{sys.version_info.minor} {sys.executable}"


def test_the_arguments_of_pytest_end_with_those_of_the_user() -> None:
    assert run.pytest_arguments(["-n0", "tests"], parallel=True, coverage=True) == [
        "-m",
        "pytest",
        "-n",
        "4",
        "--dist",
        "worksteal",
        "--cov",
        "--cov-report=term",
        "-n0",
        "tests",
    ]
    assert run.pytest_arguments([], parallel=False, coverage=False) == ["-m", "pytest"]


def test_every_step_has_one_line_in_the_summary() -> None:
    results = [
        run.Result("ok", "ruff check", 0.06),
        run.Result("FAILED", "mypy", 12.34, "exit status 1"),
        run.Result("skipped", "pytest", 0, "not here"),
    ]
    assert run.summary(results) == [
        "ok       ruff check      0.1 s",
        "FAILED   mypy           12.3 s  exit status 1",
        "skipped  pytest                 not here",
    ]


def test_colours_are_for_terminals_and_for_who_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run.paint("ok", "ok") == "ok"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run.paint("ok", "ok") == "\x1b[32mok\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert run.paint("ok", "ok") == "ok"


class Checks:
    """Stands in for the tools: which ran, and which of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = ""
        self.others: dict[str, str] = {}
        self.ran: list[str] = []
        monkeypatch.setattr(run, "prepare", lambda venv, **_: (venv / "bin" / "python", "3.11"))
        monkeypatch.setattr(run, "other_pythons", lambda _: self.others)
        monkeypatch.setattr(run, "run_step", self.run_step)

    def run_step(self, step: str, argv: Sequence[str | Path]) -> run.Result:
        self.ran.append(f"{step} in {Path(argv[0]).parent.parent.name}")
        return run.Result("FAILED" if step == self.failing else "ok", step, 1)


def test_a_failure_stops_nothing_and_fails_the_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checks = Checks(monkeypatch)
    checks.failing = "ruff check"
    checks.others = {"3.12": "/usr/bin/python3.12"}
    assert run.main(["test"]) == 1
    assert checks.ran == [
        "ruff check in .venv",
        "ruff format --check in .venv",
        "mypy --strict in .venv",
        "pytest, Python 3.11 in .venv",
        "conformance of asgiserve in .venv",
        "conformance of the example in .venv",
        "pytest, Python 3.12 in .venv-3.12",
    ]
    assert "skipped  pytest, Python 3.13" in capsys.readouterr().out
    checks.failing = ""
    assert run.main(["test"]) == 0


def test_only_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch)
    checks.others = {"3.12": "/usr/bin/python3.12"}
    assert run.main(["test", "--only-this-python"]) == 0
    assert checks.ran[-1] == "conformance of the example in .venv"


def test_a_python_that_cannot_be_set_up_fails_its_own_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checks = Checks(monkeypatch)
    checks.others = {"3.12": "/usr/bin/python3.12"}

    def prepare(venv: Path, **_: object) -> tuple[Path, str]:
        if venv.name == ".venv-3.12":
            raise venvs.SetupError("no wheels")
        return venv / "bin" / "python", "3.11"

    monkeypatch.setattr(run, "prepare", prepare)
    assert run.main(["test"]) == 1
    assert len(checks.ran) == 6
    assert "no wheels" in capsys.readouterr().out


def test_a_failed_set_up_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def prepare(_venv: Path, **_: object) -> tuple[Path, str]:
        raise venvs.SetupError("installing failed")

    monkeypatch.setattr(run, "prepare", prepare)
    assert run.main(["test"]) == 1
    assert capsys.readouterr().out == "run.py: installing failed\n"


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def prepare(_venv: Path, **_: object) -> tuple[Path, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "prepare", prepare)
    assert run.main(["test"]) == 130
    assert capsys.readouterr().out == "\nrun.py: stopped\n"


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["serve"], 2), (["--help"], 0), (["-h"], 0)])
def test_it_says_how_it_is_used(arguments: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "run.py"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "python3 run.py example" in done.stdout
    assert done.stderr == ""
