"""Teach the agent what to see, by pictures: labels of your own, learnt on this board.

  edge-agent teach add --label open   pictures-of-the-open-gate/
  edge-agent teach add --label closed pictures-of-the-closed-gate/
  edge-agent teach report
  edge-agent teach undo

What is watched is a view: the whole picture (`--view frame`), or a region of the configuration. Each is taught
for itself. A running agent takes what was learnt with its next frame. `edge-agent teach ACTION --help`
describes each action.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, SourceError, TeachError, UsageError
from edge_agent.system.text import plain_json, printable

if TYPE_CHECKING:
    from edge_agent.commands.teaching import Classroom
    from edge_agent.teach.lessons import Lesson

_ADD = """Teach that pictures show a label. Files, or folders with the folders in them; what cannot be read is
named, and the rest is taken. Show each label at several times of the day: ten pictures are a good start. The
label `none` is for whatever is of no interest.

  edge-agent teach add --label open gate/open/
  edge-agent teach add --label closed --view gate monday.jpg tuesday.jpg
  edge-agent teach add --label closed --as-seen snapshot.jpg

Pictures are taken to be as the camera gives them: they are turned, and a region is cut out, as the configuration
says. Snapshots of the agent are turned already: --as-seen. What `teach export` wrote is both: --as-is.
"""
_REMOVE = """Forget what was taught. `teach list` shows the keys.

  edge-agent teach remove --label ajar
  edge-agent teach remove --example 3f9a02c1
"""
_UNDO = """Undo the last lesson, as if it had never been: the pictures of the last `add`, or the last `remove`.
Again and again for up to ten lessons.
"""
_REPORT = """Say how good it is: each picture is answered by what the others teach, without those of its own
time. And what looks mislabelled, and what to show next.
"""
_REVERT = """Answer as before the last lesson. The examples stay: `teach undo` takes back those that spoilt it."""
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
