"""Wherever the output goes, a command ends without a traceback, and loads no more than it needs."""

import os
import subprocess
import sys

import pytest

from tests.cli.ground import COMMAND, Place


def shell(place: Place, line: str) -> "subprocess.CompletedProcess[str]":
    """A line of bash in which `outlast` is the command; it ends as the command does."""
    words = " ".join(f"'{word}'" for word in COMMAND)
    script = f'set -o pipefail; outlast() {{ {words} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script],
        env=place.env,
        check=False,
        capture_output=True,
        encoding="utf-8",
        cwd=place.folder,
    )


def test_a_reader_that_has_enough_is_no_error(served: Place) -> None:
    id = served.submit("greet", name="Ada", times=100)
    done = shell(served, f"outlast watch {id} --json | head -n 1")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 if all of it fitted into the pipe
    done = shell(served, f"outlast get {id} | exec true")
    assert (done.stderr, done.returncode) in (("", 0), ("", 141))


def test_closed_output_is_no_error(served: Place) -> None:
    id = served.submit("greet", name="Ada")
    for line in (f"outlast watch {id} >&-", f"outlast get {id} >&- 2>&-", "outlast --help >&-"):
        done = shell(served, line)
        assert (done.returncode, done.stderr) == (0, ""), line
    assert shell(served, "outlast get job_1 >&- 2>&-").returncode == 2


def test_a_full_disk_is_said(served: Place) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("only on Windows and macOS there is no /dev/full")
    for line in ("outlast list", "outlast --help"):
        done = shell(served, f"{line} > /dev/full")
        assert (done.returncode, done.stderr) == (2, "Error: No space left on device\n")


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_locale_without_umlauts_is_no_error(served: Place, env: dict[str, str]) -> None:
    id = served.submit("greet", name="Zoë 🎉", times=1)
    done = served.run("watch", id, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Zoë 🎉" in done.stdout or r"Zo\xeb \U0001f389" in done.stdout
    wire = served.run("get", id, "--json", env=env)
    assert '"Hello Zoë 🎉"' in wire.stdout or r'"Hello Zo\u00eb \ud83c\udf89"' in wire.stdout


def test_without_its_extra_a_command_says_what_to_install(place: Place) -> None:
    hide = "import sys; sys.modules['{0}'] = None; from outlast.cli import main; main()"
    for module, words in (("httpx2", ["list"]), ("uvicorn", ["serve", "app:app"]), ("starlette", ["serve", "app:app"])):
        (place.folder / "app.py").write_text("from outlast import Outlast\napp = Outlast()\n")
        done = subprocess.run(
            [sys.executable, "-c", hide.format(module), *words],
            check=False,
            env=place.env,
            cwd=place.folder,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 2
        assert 'pip install ".[server]"' in done.stderr
        assert "Traceback" not in done.stderr


def test_ctrl_c_while_it_is_loaded_shows_no_traceback(place: Place) -> None:
    interrupt = (
        "import sys\nclass Interrupt:\n    def find_spec(self, name, *rest):\n"
        "        if name == 'click':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\nfrom outlast.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupt], check=False, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (130, "")


def test_the_package_is_a_command_too(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "outlast", "get"], check=False, capture_output=True, encoding="utf-8", cwd=place.folder
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: outlast get ")


def loaded_by(*words: str) -> set[str]:
    """The libraries that a command has loaded when it ends."""
    code = (
        "import sys\nfrom outlast.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, encoding="utf-8")
    return set(done.stderr.splitlines()[-1].split())


def test_a_command_loads_only_what_it_needs() -> None:
    heavy = {"apsw", "httpx2", "rich", "starlette", "uvicorn"}
    assert not loaded_by("--version") & heavy
    assert not loaded_by("serve", "--help") & heavy
    assert loaded_by("get", "job_1", "--url", "http://127.0.0.1:1") & heavy == {"httpx2"}


def test_the_version_is_that_of_the_package(place: Place) -> None:
    from importlib.metadata import version

    assert place.inside("--version").stdout == f"outlast {version('outlast')}\n"
