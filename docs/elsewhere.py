"""A hook of mkdocs: what lies elsewhere in the repository, and is on the site all the same.

CHANGELOG.md and others are pages of it, and not copies. Where a page links to any other file of the repository, the
site has a page with that file's text, and of a folder one with its files' names: the links work offline, and need no
address of a repository.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# The site's pages, and where in the repository they lie.
PAGES = {
    "changes.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
    "kubernetes.md": "deploy/kubernetes/README.md",
}
LANGUAGES = {".json": "json", ".py": "python", ".sh": "sh", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
# Of [text](target): the target without its anchor. Not addresses with a scheme, and not anchors of the page itself.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def in_repository(uri: str) -> str:
    """Where in the repository a page of the site lies."""
    return PAGES.get(uri, f"docs/{uri}")


def page_of(path: str) -> str:
    """Which page of the site a file of the repository is."""
    found = next((uri for uri, source in PAGES.items() if source == path), None)
    return found or (path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md")


def _targets(markdown: str, uri: str) -> Iterator[str]:
    """The files of the repository that a page links to, as paths from its root; those that are not there too."""
    for link in LINK.findall(markdown):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(in_repository(uri)), link))


def _shown(file: Path, path: str) -> str:
    head = f"---\nhide: [navigation, toc]\nsearch: {{exclude: true}}\n---\n# {path}\n\n"
    if file.is_dir():
        return head + "".join(f"- `{each.name}`\n" for each in sorted(file.iterdir()) if each.name[0] not in "._")
    fence = "`" * 5
    text = file.read_text(encoding="utf-8").rstrip()
    return f"{head}{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for uri, source in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(root / source)))
    for page in list(files.documentation_pages()):
        for path in _targets(page.content_string, page.src_uri):
            uri = page_of(path)
            if uri.startswith("source/") and (root / path).exists() and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=_shown(root / path, path)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    uri = page.file.src_uri

    def there(link: re.Match[str]) -> str:
        [path] = _targets(f"]({link[0]})", uri)
        found = files.get_file_from_path(page_of(path))
        # One that leads nowhere stays as it is, and mkdocs tells.
        return posixpath.relpath(found.src_uri, posixpath.dirname(uri) or ".") if found else link[0]

    replace: Callable[[re.Match[str]], str] = there
    return LINK.sub(replace, markdown)
