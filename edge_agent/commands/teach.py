"""Teach the agent what to see, by pictures: labels of your own, learnt on this board.

  edge-agent teach add --label open   pictures-of-the-open-gate/
  edge-agent teach add --label closed pictures-of-the-closed-gate/
  edge-agent teach report
  edge-agent teach undo

What is watched is a view: the whole picture (`--view frame`), or a region of the configuration. Each is
taught for itself. A running agent takes what was learnt within seconds.

`edge-agent teach ACTION --help` describes each action.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, SourceError, TeachError, UsageError
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import plain_json, printable
from edge_agent.tools import to_stderr

if TYPE_CHECKING:
    from edge_agent.config.schema import Config
    from edge_agent.teach.lessons import Lesson, Lessons, Shot
    from edge_agent.tools.classroom import Classroom, Shown, View

MOST_PICTURES = 500
"""Of one lesson; each is an open file for a while."""


_ADD = """Teach that pictures show a label. Files, or folders with the folders in them; what cannot be read is
named, and the rest is taken. Show each label at several times of the day: ten pictures are a good start. The
label `none` is for whatever is of no interest.

  edge-agent teach add --label open gate/open/
  edge-agent teach add --label closed --view gate monday.jpg tuesday.jpg
  edge-agent teach add --label closed --as-seen snapshot.jpg

Pictures are taken to be as the camera gives them: they are turned, and a region is cut out, as the
configuration says. Snapshots of the agent are turned already: --as-seen. What `teach export` wrote is turned
and cut: --as-is.
"""
_REMOVE = """Forget what was taught. `teach list` shows the keys.

  edge-agent teach remove --label ajar
  edge-agent teach remove --example 3f9a02c1
"""
_UNDO = """Undo the last lesson, as if it had never been: all pictures of the last `add`, or a `remove`. Once
more undoes the one before it, for ten lessons.
"""
_REPORT = """Say how good it is: each picture is answered by what the others teach, without those of its own
time. And what looks mislabelled, and what to show next.
"""
_REVERT = """Answer as before the last lesson, while the examples stay. (`teach undo` takes those back.)"""
_EXPORT = """Write the small pictures into a folder for each label, and examples.csv beside them.

  edge-agent teach export ./gate
"""
_MERGE = """Join heads of several cameras with the same model, without any picture. The result answers by the
means of the labels.

  edge-agent teach merge one/head two/head --output /var/lib/edge-agent/teach/frame/head
"""
_LIST = "Show the examples, those that came last at the end."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _action(actions, "add", "teach that pictures show a label", _ADD)
    add.add_argument("--label", metavar="LABEL", required=True, help="what they show")
    add.add_argument("pictures", metavar="PICTURE", nargs="+", type=Path, help="a file or a folder")
    which = add.add_mutually_exclusive_group()
    which.add_argument("--as-seen", action="store_true", help="they are turned already, as snapshots are")
    which.add_argument("--as-is", action="store_true", help="they show the view and nothing else")
    add.add_argument("--no-thumbnails", action="store_true", help="keep no small pictures of them")
    _with_view(add)
    remove = _action(actions, "remove", "forget a label or an example", _REMOVE)
    what = remove.add_mutually_exclusive_group(required=True)
    what.add_argument("--label", metavar="LABEL", help="all examples of it")
    what.add_argument("--example", metavar="KEY", help="one example, by the beginning of its key")
    _with_view(remove)
    _with_view(_action(actions, "undo", "undo the last lesson", _UNDO))
    _with_view(_action(actions, "list", "show the examples", _LIST))
    _with_view(_action(actions, "report", "say how good it is, and what is missing", _REPORT))
    _with_view(_action(actions, "revert", "answer as before the last lesson", _REVERT))
    export = _action(actions, "export", "write the small pictures into folders", _EXPORT)
    export.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    _with_view(export)
    merge = _action(actions, "merge", "join the heads of several cameras", _MERGE)
    merge.add_argument("heads", metavar="HEAD", nargs="+", type=Path, help="the file of a head")
    merge.add_argument("--output", metavar="HEAD", type=Path, required=True, help="where the result goes")


def run(args: argparse.Namespace) -> int:
    """Run the action. Raises EdgeAgentError."""
    actions = {
        "add": _add,
        "remove": _remove,
        "undo": _undo,
        "list": _list,
        "report": _report,
        "revert": _revert,
        "export": _export,
        "merge": _merge,
    }
    return actions[args.action](args)


def _action(actions: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    added = actions.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return cast(argparse.ArgumentParser, added)


def _with_view(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--view", metavar="NAME", default="", help="a region, or `frame` for the whole picture")
    add("--config", metavar="FILE", type=Path, help="the configuration (default: the installed one)")
    add("--json", action="store_true", help="print JSON")


def _add(args: argparse.Namespace) -> int:
    from edge_agent.teach.examples import check_label
    from edge_agent.tools import lesson_text
    from edge_agent.tools.classroom import view_of

    check_label(args.label)
    from edge_agent.config.loader import load_given

    config = load_given(args.config)
    view = view_of(config, args.view, os.environ, only_watched=True)
    given = _picture_paths(args.pictures)
    files = _opened(given)  # with the caller's rights
    _enter(view)
    with _classroom(config, view) as classroom:
        shown: Shown = "view" if args.as_is else "seen" if args.as_seen else "camera"
        with_thumbnail = config.teach.thumbnails and not args.no_thumbnails
        shots = _shots(classroom, files, shown, with_thumbnail=with_thumbnail)
        if not shots:
            raise TeachError("none of the pictures can be read: nothing was taught")
        lesson = classroom.lessons.add(args.label, shots)
        learnt = classroom.lessons.fit()
    unreadable = len(given) - len(shots)
    if args.json:
        document = {"view": view.name, "unreadable": unreadable, **lesson_text.lesson_json(lesson)}
        _print_json(document | lesson_text.learnt_json(learnt))
    else:
        _print(lesson_text.added(args.label, lesson, len(shots)), lesson_text.known(view.name, learnt))
        _print_who_takes_it(config, view)
    return EXIT_FAILURE if unreadable else EXIT_OK


def _remove(args: argparse.Namespace) -> int:
    def remove(lessons: Lessons) -> Lesson:
        return lessons.remove(label=args.label or "", key=args.example or "")

    return _changed(args, remove)


def _undo(args: argparse.Namespace) -> int:
    def undo(lessons: Lessons) -> Lesson:
        if (lesson := lessons.undo()) is None:
            raise TeachError("there is no lesson that can be undone")
        return lesson

    return _changed(args, undo)


def _changed(args: argparse.Namespace, change: Callable[[Lessons], Lesson]) -> int:
    """Change what was taught, fit anew, and say both."""
    from edge_agent.tools import lesson_text

    config, view = _entered(args)
    with _classroom(config, view) as classroom:
        lesson = change(classroom.lessons)
        learnt = classroom.lessons.fit()
    if args.json:
        _print_json({"view": view.name, **lesson_text.lesson_json(lesson), **lesson_text.learnt_json(learnt)})
        return EXIT_OK
    if lesson.gone:
        print(f"forgot {lesson_text.counted(lesson.gone)}")
    if lesson.added:
        print(f"brought back {lesson_text.counted(lesson.added)}")
    _print(lesson_text.known(view.name, learnt))
    _print_who_takes_it(config, view)
    return EXIT_OK


def _list(args: argparse.Namespace) -> int:
    from edge_agent.tools import lesson_text

    config, view = _entered(args)
    with _classroom(config, view) as classroom:
        examples = [
            (each, bool(classroom.lessons.thumbnail(each.key))) for each in classroom.lessons.examples()
        ]
    if args.json:
        described = [lesson_text.example_json(each, has_picture=has) for each, has in examples]
        _print_json({"view": view.name, "examples": described})
        return EXIT_OK
    if not examples:
        print(f"{view.name} was taught nothing")
    _print(lesson_text.row(each, has_picture=has) for each, has in examples)
    return EXIT_OK


def _report(args: argparse.Namespace) -> int:
    from edge_agent.tools import lesson_text

    config, view = _entered(args)
    with _classroom(config, view) as classroom:
        learnt = classroom.lessons.fit(keep=False)
    if args.json:
        _print_json({"view": view.name, **lesson_text.learnt_json(learnt)})
    elif learnt is None:
        print(f"{view.name} was taught nothing")
    else:
        _print(lesson_text.report(view.name, learnt.report))
    return EXIT_OK


def _revert(args: argparse.Namespace) -> int:
    config, view = _entered(args)
    with _classroom(config, view) as classroom:
        loaded = classroom.lessons.revert()
    labels = loaded.head.labels if loaded.head else ()
    if args.json:
        _print_json({"view": view.name, "labels": labels})
        return EXIT_OK
    print(f"{view.name} answers as before the last lesson: {', '.join(labels)}")
    _print_who_takes_it(config, view)
    return EXIT_OK


def _export(args: argparse.Namespace) -> int:
    from edge_agent.tools.lesson_export import export
    from edge_agent.tools.lesson_text import some

    _, view = _entered(args)
    exported = export(view.directory, args.folder)
    if args.json:
        _print_json({"view": view.name, "examples": exported.examples, "pictures": exported.pictures})
        return EXIT_OK
    of_how_many = f"{some(exported.pictures, 'picture')} of {some(exported.examples, 'example')}"
    print(f"{printable(args.folder)}: {of_how_many} of {view.name}")
    return EXIT_OK


def _merge(args: argparse.Namespace) -> int:
    from edge_agent.teach import head_file
    from edge_agent.teach.merge import merge

    joined = merge([head_file.load(path) for path in args.heads])  # with the caller's rights
    if line := become_owner_of(args.output):
        to_stderr(line)
    try:
        head_file.save(args.output, joined)
    except OSError as error:
        raise TeachError(f"{args.output}: cannot be written: {error.strerror or error}") from error
    counts = ", ".join(f"{label} ({moment.count})" for label, moment in joined.classes.items())
    print(f"{printable(args.output)}: {counts}")
    return EXIT_OK


def _entered(args: argparse.Namespace) -> tuple[Config, View]:
    """The configuration, and the view that is meant, as whoever owns it."""
    from edge_agent.config.loader import load_given
    from edge_agent.tools.classroom import view_of

    config = load_given(args.config)
    view = view_of(config, args.view, os.environ, only_watched=False)
    _enter(view)
    return config, view


def _enter(view: View) -> None:
    """Go on as the owner of the state directory, where root calls. Raises UsageError without rights there."""
    if line := become_owner_of(view.directory):
        to_stderr(line)
    there = next(path for path in (view.directory, *view.directory.parents) if path.exists())
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(f"{there}: this user may not teach the agent that keeps its state there; use sudo")


@contextmanager
def _classroom(config: Config, view: View) -> Iterator[Classroom]:
    """The network and the lessons; first it is taught what another network was taught."""
    from edge_agent.tools.classroom import Classroom
    from edge_agent.tools.lesson_text import some

    with closing(Classroom(config, view, os.environ)) as classroom:
        loaded = classroom.lessons.head()
        for problem in filter(None, (classroom.lessons.damage, loaded.problem)):
            to_stderr(problem)
        if loaded.foreign:
            relearnt = classroom.relearn()
            to_stderr(f"{some(relearnt.learnt, 'example')} of another model: taught to this one by pictures")
            if relearnt.lost:
                to_stderr(f"{some(relearnt.lost, 'example')} of another model: without a picture, or room")
        yield classroom


def _picture_paths(given: Sequence[Path]) -> list[Path]:
    """The files that are named, and those in the folders. Raises UsageError for none, or too many."""
    from edge_agent.sources.picture_files import pictures_below

    def unlisted(folder: Path, error: OSError) -> None:
        to_stderr(f"edge-agent teach: {folder}: {error.strerror or error}")

    found: list[Path] = []
    for path in given:
        try:
            inside = (
                list(islice(pictures_below(path, unlisted), MOST_PICTURES + 1)) if path.is_dir() else [path]
            )
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        if not inside:
            raise UsageError(f"{path}: there is no picture in this folder")
        found += inside
    if len(found) > MOST_PICTURES:
        raise UsageError(f"these are too many pictures for one lesson: show {MOST_PICTURES} at most")
    return found


def _opened(paths: Iterable[Path]) -> list[tuple[Path, BinaryIO]]:
    """The files that can be opened; the others are named."""
    from edge_agent.sources.picture import open_picture

    files = []
    for path in paths:
        try:
            files.append((path, open_picture(path)))
        except SourceError as error:
            to_stderr(f"edge-agent teach: {error}")
    return files


def _shots(
    classroom: Classroom, files: Iterable[tuple[Path, BinaryIO]], shown: Shown, *, with_thumbnail: bool
) -> list[Shot]:
    """What is learnt from the files, the oldest picture first; those that cannot be read are named."""
    shots = []
    for path, file in files:
        with file:
            try:
                shots.append(classroom.shot(file, path, shown, with_thumbnail=with_thumbnail))
            except SourceError as error:
                to_stderr(f"edge-agent teach: {error}")
    return sorted(shots, key=lambda shot: shot.time_s)


def _print(*parts: Iterable[str]) -> None:
    for lines in parts:
        for line in lines:
            print(line)


def _print_json(document: dict[str, object]) -> None:
    print(json.dumps(plain_json(document), indent=2))


def _print_who_takes_it(config: Config, view: View) -> None:
    from edge_agent.system.lock import is_held

    if not config.teach.enabled:
        print("teach.enabled is false: the agent does not use what it was taught")
    elif is_held(view.state):
        print("the running agent takes it within seconds")
    else:
        print(f"no agent runs with {view.state}: it is used from the next start on")
