"""MODULE:APP becomes an app: imported from the current directory, as `python -m` would."""

import importlib
import os
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from outlast.app import Outlast
from outlast.cli.exits import Refused
from outlast.cli.text import safe

FORMS = "write shop.jobs:app or path/to/jobs.py:app"


def load(place: str) -> Outlast:
    """The app at `module:name` or `path/to/file.py:name`.

    Raises Refused with what is wrong: the user's own traceback if the import failed, else the names that are there.
    """
    module_name, _, name = place.rpartition(":")
    if not module_name or not name:
        raise Refused(f"{safe(place)!r} names no app; {FORMS}")
    sys.path.insert(0, os.getcwd())
    module = _import_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name)
    app = getattr(module, name, None)
    if isinstance(app, Outlast):
        return app
    raise Refused(f"{place}: {_what_is_there(module, name)}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    module = _import(path.stem)
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise Refused(f"{path}: another module is called {path.stem!r} too ({module.__file__}); rename the file")
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise Refused(f"there is no module {error.name!r} in {os.getcwd()} or among what is installed") from None
        raise Refused(_failed(name, error)) from None
    except (Exception, SystemExit) as error:
        raise Refused(_failed(name, error)) from None


def _failed(name: str, error: BaseException) -> str:
    return f"importing {name} failed\n\n{_of_the_user(error)}"


def _of_the_user(error: BaseException) -> str:
    """The traceback without our own frames and those of the import system, which help nobody to find the mistake."""
    shown = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = shown
    while link is not None:
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if not _ours(frame.filename)])
        link = link.__cause__ or link.__context__
    return safe("".join(shown.format()).rstrip(), lines=True)


def _ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", OUR_FILES, IMPORT_SYSTEM))


OUR_FILES = str(Path(__file__).resolve().parent.parent) + os.sep
IMPORT_SYSTEM = str(Path(importlib.__file__).parent) + os.sep


def _what_is_there(module: ModuleType, name: str) -> str:
    apps = [known for known, value in vars(module).items() if isinstance(value, Outlast)]
    if apps:
        return f"{name!r} is no app of it; there is {' and '.join(get_close_matches(name, apps, cutoff=0) or apps)}"
    if hasattr(module, name):
        return f"{name!r} is a {type(getattr(module, name)).__name__}, not an Outlast()"
    return f"there is no {name!r}; make one with `{name} = Outlast()`"
