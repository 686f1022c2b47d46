"""The documentation is true: links lead somewhere, commands parse, the reference is the code's."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from emo.cli import COMMANDS, Parser, make_parser
from emo.cli.docs import stale
from emo.options import BOTH, GraphOptions

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = "<!-- Made from the code"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
WRITTEN = [page for page in PAGES if not page.read_text().startswith(GENERATED)]

_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text())
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(slug)
    return found


def broken_links(page: Path, root: Path) -> list[str]:
    """Links of a page that lead nowhere, with the reason."""
    found = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        place, _, anchor = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        if not there.exists():
            found.append(f"{target}: no such file")
        elif root not in there.parents:
            found.append(f"{target}: leaves the checkout")
        elif anchor and anchor not in anchors(there):
            found.append(f"{target}: no such heading")
    return found


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page):
    assert broken_links(ROOT / page, ROOT) == []


#: Page of a small site -> its text; each of the bad links is to be found.
SITE = {
    "index.md": "# A\n\n## One, *two*\n\n[b](b.md#there) [c](#one-two)\n"
    "[d](gone.md) [e](b.md#nowhere) [f](../../etc) [g](https://example.org/gone)\n",
    "b.md": "# B\n\n## There\n\n```\n## Not there\n[no](link.md)\n```\n",
}


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    docs = tmp_path / "checkout" / "docs"
    docs.mkdir(parents=True)
    for name, text in SITE.items():
        (docs / name).write_text(text)
    (tmp_path / "etc").mkdir()
    assert broken_links(docs / "b.md", tmp_path / "checkout") == []
    assert broken_links(docs / "index.md", tmp_path / "checkout") == [
        "gone.md: no such file",
        "b.md#nowhere: no such heading",
        "../../etc: leaves the checkout",
    ]


def test_every_page_is_in_the_site():
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, tag, node: None)
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    shown = set(re.findall(r"[\w/]+\.md", str(settings["nav"])))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert {page for page in shown if (DOCS / page).exists()} == shown
    assert {page for page in there if not page.startswith("nodes/")} <= shown


# --- commands


def blocks(text: str) -> Iterator[str]:
    """The lines of fenced blocks, continuation lines joined."""
    for block in _FENCE.findall(text):
        if block.lstrip(" `").startswith(("python", "yaml", "text")):
            continue
        yield from re.sub(r"\s*\\\n\s*", " ", block).splitlines()[1:-1]


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """Commands of a page, and whether each must be whole: those in the text may be a part only."""
    text = page.read_text()
    for line in blocks(text):
        usage = re.split(r"\s{3,}", line.strip())[0]  # what follows tells what it does
        yield from ((part.strip(), True) for part in re.split(r"&&|\|\|", usage))
    for code in _INLINE.findall(_FENCE.sub("", text)):
        yield code.replace("\n", " "), False


def emo_commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Words after `./emo`, and whether they must be whole."""
    for command, whole in commands(page):
        match = re.match(r"(?:[A-Z_0-9]+=\S* )*(?:\./emo|ros2 run emo emo)(?: (.*))?$", command)
        if match:
            text = match.group(1) or ""
            syntax = re.search(r"\[|\.\.\.|\||;", text)
            yield shlex.split(text, comments=True), whole and not syntax


def options(parser: Parser, words: list[str]) -> set[str]:
    """Flags that the parser and the subparsers named among `words` know."""
    known: set[str] = set()
    for action in parser._actions:
        known.update(action.option_strings)
        if isinstance(action.choices, dict):
            for name, below in action.choices.items():
                if name in words:
                    known |= options(below, words)
    return known


@pytest.mark.parametrize("page", names(WRITTEN))
def test_commands_are_understood(page):
    for words, whole in emo_commands(ROOT / page):
        if not words or words[0] in ("--version", "--help", "COMMAND", "..."):
            continue
        shown = f"{page}: ./emo {' '.join(words)}"
        assert words[0] in COMMANDS, f"{shown}: no such command"
        parser, _ = make_parser(words[0])
        if whole:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                try:
                    parser.parse_args(words[1:])
                except SystemExit as stop:
                    assert not stop.code, f"{shown}: {said.getvalue()}"
        else:
            flags = re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(words))
            assert set(flags) <= options(parser, words) | {"--debug"}, shown


def test_a_command_that_is_not_understood_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `./emo track --nonsense`:\n\n```\nX=1 ./emo track \\\n  V.mp4   a face\n```\n"
    )
    found = list(emo_commands(page))
    assert found == [(["track", "V.mp4"], True), (["track", "--nonsense"], False)]
    parser, _ = make_parser("track")
    assert "--nonsense" not in options(parser, ["track"])
    assert "-o" in options(parser, ["track"])


#: Commands whose work a test does by calling what they call; the command line itself would take
#: minutes, real recordings, or a person.
RUN_BY_PARTS = {
    "dashboard": "ros/test_dashboard_browser.py",
    "top": "ros/test_board.py",
    "test": "cli/test_main.py",
    "train apc": "training/test_training.py",
    "train audio2landmark": "training/test_training.py",
    "train inverse": "training/test_inverse.py",
    "train predictive": "mimic/test_training.py",
    "data prepare": "data/test_prepare.py",
    "eval apc": "evaluation/test_apc.py",
    "eval inverse": "evaluation/test_inverse.py",
    "eval precision": "evaluation/test_precision.py",
}


def subcommand(words: list[str]) -> str:
    """`eval lipsync`, `bag`: a command, with its own choice of what to do where it has one."""
    parser, _ = make_parser(words[0])
    below = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    chosen = words[1:2] if below and words[1:2] and words[1] in below[0] else []
    return " ".join([words[0], *chosen])


def run_by_tests() -> set[str]:
    """What tests give to the command line: `emo("bag", ...)`, `partial(emo, "stop")`, `[..., main
    ..., "docs", ...]`, and every command of the tutorial, which is run as it stands."""
    tutorial = emo_commands(DOCS / "tutorial.md")
    found = {subcommand(words) for words, whole in tutorial if whole}
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts: list[ast.expr] = []
            if isinstance(node, ast.Call):
                parts = [node.func, *node.args]
            elif isinstance(node, ast.List):
                parts = node.elts
            for i, part in enumerate(parts[:-1]):
                runs = re.search(r"\bemo$|emo\.cli import main", ast.unparse(part).strip("\"'"))
                given = [each.value for each in parts[i + 1 :] if isinstance(each, ast.Constant)]
                if runs and given and given[0] in COMMANDS:
                    found.add(subcommand([str(each) for each in given]))
    return found


def test_every_command_of_the_pages_is_run_by_a_test():
    documented = {
        subcommand(words)
        for page in WRITTEN
        for words, whole in emo_commands(page)
        if whole and words and words[0] in COMMANDS
    }
    assert len(documented) > 20
    tested = run_by_tests()
    assert "bag" in tested and "dashboard" not in tested
    assert documented - tested - set(RUN_BY_PARTS) == set()
    assert set(RUN_BY_PARTS) & tested == set(), "run as a whole: no exception any more"
    for command, test in RUN_BY_PARTS.items():
        assert (ROOT / "tests" / test).is_file(), f"{command}: {test}"


@pytest.mark.parametrize("page", names(WRITTEN))
def test_launch_arguments_and_scripts_exist(page):
    known = {option.name for option in GraphOptions.of(BOTH)}
    code = (ROOT / "src" / "emo" / "emo" / "launching.py").read_text()
    known |= set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', code))
    known |= set(re.findall(r'^ +"(\w+)": "', code, re.MULTILINE))  # the replay's own, in a table
    for command, _ in commands(ROOT / page):
        if match := re.match(r"ros2 launch emo (\w+\.launch\.py)(.*)$", command):
            assert (ROOT / "launch" / match.group(1)).is_file(), f"{page}: {command}"
            given = set(re.findall(r"(\w+):=", match.group(2)))
            assert given <= known, f"{page}: {command}: no argument {given - known}"
        for script in re.findall(r"\b(?:benchmarks|docker|docs)/[\w/.-]+\.(?:py|sh)\b", command):
            assert (ROOT / script).is_file(), f"{page}: {script}: no such file"


@pytest.mark.ros
@pytest.mark.slow
def test_the_first_hour_works(tmp_path):
    """Every command of the tutorial, in order, in a folder that looks like the checkout."""
    if not Path(sys.prefix, "emo-stamp").is_file():
        pytest.skip("this environment is not one that ./emo made")
    for name in ("emo", "src", "config", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    text = (DOCS / "tutorial.md").read_text()
    ran = 0
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        command = [sys.executable, "-c", block] if language == "python" else ["sh", "-ec", block]
        environment = {**os.environ, "EMO_VENV": sys.prefix, "DISPLAY": "", "BROWSER": "true"}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        ran += 1
    assert ran >= 8
    for result in ("demo/index.html", "hour/hello.mp4", "hour/live/robot.mp4", "hour/babble.npz"):
        assert (tmp_path / "out" / result).stat().st_size > 1000


# --- the reference and the site


def test_stale_pages_are_named(tmp_path):
    (tmp_path / "nodes").mkdir()
    for name, text in (("same", "1"), ("changed", "1"), ("gone", "1")):
        (tmp_path / "nodes" / f"{name}.md").write_text(text)
    made = {"nodes/same.md": "1", "nodes/changed.md": "2", "nodes/new.md": "1"}
    assert stale(tmp_path, made) == ["nodes/changed.md", "nodes/gone.md", "nodes/new.md"]


@pytest.mark.ros
def test_reference_is_what_the_code_says():
    """In a process of its own: it starts every node."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from emo.cli import main; sys.exit(main())",
         "docs", "--check"], capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, f"stale, run ./emo docs --write: {done.stdout} {done.stderr}"
    assert "dashboard: http" not in done.stderr, "what nodes say at their start is not the page's"


def test_every_parameter_is_described():
    """Without a word on it a parameter's row in the reference is empty."""
    for path in sorted((ROOT / "src").glob("emo_*/*/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Parameter":
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                assert len(node.args) >= 3, f"{path.name}: {ast.unparse(node)}"
                assert node.args[2], f"{path.name}: {ast.unparse(node)}"


def test_site_is_not_built_with_a_broken_link(tmp_path):
    pytest.importorskip("mkdocs", reason="./emo docs has not been run here")
    (tmp_path / "docs").mkdir()
    for name, text in SITE.items():
        (tmp_path / "docs" / name).write_text(text)
    nav = "[index.md, b.md]"
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\nnav: {nav}\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert "'gone.md'" in done.stderr and "'b.md#nowhere'" in done.stderr


def test_site_builds_without_a_broken_link(tmp_path):
    pytest.importorskip("mkdocs", reason="./emo docs has not been run here")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").is_file()
    # Nothing is fetched from elsewhere when it is read.
    index = (tmp_path / "index.html").read_text()
    assert not re.search(
        r'<(?:script|img)[^>]*src="https?:|<link[^>]*stylesheet[^>]*https?:', index
    )
