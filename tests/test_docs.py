"""The pages of docs/ are true: their blocks run in order and print what they say, what they quote exists."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
# Which package of the extra [examples] a page needs, and how it is called when it is installed.
NEEDS = {"accelerate.md": ("accelerate", "accelerate"), "ignite.md": ("ignite", "pytorch-ignite")}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
NUMBER = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.02  # what a short training comes to differs a little between machines
MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    """A block that is run, and what the page says that it prints (None: it does not say)."""

    language: str
    code: str
    printed: str | None


def blocks(page: str) -> list[Block]:
    """A page's python and bash blocks in order; a text block says what the one before it prints."""
    found: list[Block] = []
    for language, code in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "text":
            found[-1] = Block(found[-1].language, found[-1].code, code)
        elif language in ("python", "bash"):
            found.append(Block(language, code, None))
    return found


def script(parts: list[Block]) -> str:
    """One script of all blocks, so that torch and mlflow are imported once; a mark after the output of each."""
    lines = ["import subprocess"]
    for part in parts:
        shell = f"subprocess.run(['bash', '-euc', {part.code!r}], check=True)"
        lines += [part.code if part.language == "python" else shell, f"print({MARK!r}, flush=True)"]
    return "\n".join(lines)


def agrees(wanted: str, found: str) -> bool:
    """Whether *found* reads as *wanted*: numbers with a point may differ a little, … stands for any one word."""
    words, others = wanted.split(), found.split()
    return len(words) == len(others) and all(map(_same, words, others))


def _same(wanted: str, found: str) -> bool:
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", found):
        return wanted == "…"
    pairs = zip(NUMBER.findall(wanted), NUMBER.findall(found), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_a_page_runs_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    """As a reader would paste it, in a checkout, with a store of its own."""
    module, package = NEEDS.get(page, ("mlflow_pt_eval", ""))
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{package} is not installed: pip install -e '.[examples]' -c constraints.txt")
    shutil.copytree(ROOT / "projects", tmp_path / "projects", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "page.py").write_text(script(blocks(page)), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | {"PATH": path}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for part, output in zip(blocks(page), done.stdout.split(MARK), strict=False):
        assert part.printed is None or agrees(part.printed, output), f"{part.code}\nprinted:\n{output}"


def test_every_link_leads_somewhere() -> None:
    """A file that exists, and in a page of ours a heading that exists."""
    dead = []
    for page in PAGES:
        for target, heading in LINK.findall((DOCS / page).read_text(encoding="utf-8")):
            path = (DOCS / target).resolve() if target else DOCS / page
            if target.startswith("http"):
                continue
            if not path.exists() or (heading and heading not in headings(path)):
                dead.append(f"{page}: {target}#{heading}")
    assert dead == []


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_api_page_is_up_to_date() -> None:
    """`python docs/make_api.py` would change nothing."""
    made = runpy.run_path(str(DOCS / "make_api.py"))["page"]()
    assert made == (DOCS / "api.md").read_text(encoding="utf-8"), "run `python docs/make_api.py`"


def messages() -> set[str]:
    """Every text of the package, with … for what is filled in."""
    found = set()
    for path in (ROOT / "mlflow_pt_eval").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_error_that_is_explained_exists() -> None:
    """The left column of the tables of our own messages quotes the source, with … for what varies."""
    own = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").split("## MLflow's")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", own, flags=re.MULTILINE)
    known = messages()
    assert len(quoted) > 20
    assert [text for text in quoted if not any(_quotes(text, message) for message in known)] == []


def _quotes(text: str, message: str) -> bool:
    pattern = ".*?".join(re.escape(part.strip()) for part in text.split("…"))
    return re.search(pattern, message, flags=re.DOTALL) is not None
